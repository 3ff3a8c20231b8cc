"""The system's limit on a process's open files, sockets among them."""

import resource


def allow_open_files(count: int) -> int:
    """Raise this process's soft limit to `count` where the hard one allows it; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return count
    possible = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    return possible
