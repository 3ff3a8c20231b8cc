"""What Codex wants to know about a model."""

from persistence.types import JSON

INSTRUCTIONS = """\
You are a coding agent in a terminal, working in the user's folder through the tools that you are given.

- Read the code that matters before you change it, and follow its style and conventions.
- Do what the user asked and no more. Fix causes rather than symptoms, and keep changes small.
- Work until the task is done: run commands, edit files, and check the result with the project's own tests.
- Never undo changes that you did not make, and ask before anything that cannot be undone.
- Follow the AGENTS.md files of the folders whose files you change.
- Say in a few plain sentences what you did, naming files and lines, and what you could not check.
"""
"""The instructions that Codex gives a model that it knows through the list of models alone."""


def codex_model(name: str, context_window: int | None, priority: int) -> JSON:
    """Return a model as Codex reads it from the list of models; without it Codex warns at its start.

    Codex compacts a conversation at 90 % of the context window, and never where it is None.
    """
    return {
        "slug": name,
        "display_name": name,
        "description": None,
        "supported_reasoning_levels": [],
        "shell_type": "unified_exec",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "upgrade": None,
        "base_instructions": INSTRUCTIONS,
        "supports_reasoning_summaries": True,
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": "freeform",
        "truncation_policy": {"mode": "tokens", "limit": 10_000},
        "supports_parallel_tool_calls": True,
        "context_window": context_window,
        "experimental_supported_tools": [],
    }
