"""The example of the notes (section 8.2) as they print it: with line numbers, in two pieces."""

PRINTED = """\
1  import selectors
2  import socket
3
4  sel = selectors.DefaultSelector()
5
6  def accept(sock, mask):
7      conn, addr = sock.accept() # Should be ready
8      print('accepted', conn, 'from', addr)
9      conn.setblocking(False)
10     sel.register(conn, selectors.EVENT_READ, read)
11
12  def read(conn, mask):
13     data = conn.recv(1000) # Should be ready
14     if data:
15         print('echoing', repr(data), 'to', conn)
16         conn.send(data) # Hope it won't block
```

```
17     else:
18         print('closing', conn)
19         sel.unregister(conn)
20         conn.close()
21
22 sock = socket.socket()
23 sock.bind(('localhost', 1234))
24 sock.listen(100)
25 sock.setblocking(False)
26 sel.register(sock, selectors.EVENT_READ, accept)
27
28 while True:
29     events = sel.select()
30     for key, mask in events:
31         callback = key.data
32         callback(key.fileobj, mask)
"""
