"""What happens to a program from outside: the network's traffic, clients of a server, jobs."""
