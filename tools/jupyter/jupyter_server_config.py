"""How this clone's notebooks are served: one that was only opened is stored as it was.

JupyterLab writes the version of the kernel's interpreter into every notebook that it opens, and so
takes it for changed. Here a notebook gets that version on its way to the browser, and loses it on
its way back to the file, where it would differ from one machine to the next.
"""

from __future__ import annotations

import platform
from typing import Any

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager


class Notebooks(AsyncLargeFileManager):
    """Files as Jupyter serves them, notebooks without the interpreter's version."""

    async def get(self, path: str, content: bool = True, *more: Any, **named: Any) -> Any:
        """What is at `path`."""
        model = await super().get(path, content, *more, **named)  # type: ignore[no-untyped-call]
        language = _language(model)
        if language:
            language.setdefault("version", platform.python_version())
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> Any:
        """Store `model` at `path`."""
        _language(model).pop("version", None)
        return await super().save(model, path)  # type: ignore[no-untyped-call]


def _language(model: dict[str, Any]) -> dict[str, Any]:
    """What a notebook says of its language; of anything else, nothing."""
    if model.get("type") != "notebook" or not model.get("content"):
        return {}
    found: dict[str, Any] = model["content"]["metadata"].get("language_info", {})
    return found


get_config().ServerApp.contents_manager_class = Notebooks  # type: ignore[name-defined]  # noqa: F821
