"""Memory that is free goes back to the system."""

from serving.memory import GROWTH, MemoryTrimmer, resident_bytes


async def test_free_memory_between_used_blocks_is_returned() -> None:
    trimmer = MemoryTrimmer()
    await trimmer.open()
    pieces = [bytes(1000) for _ in range(150_000)]
    used = pieces[::60]
    grown = resident_bytes()
    del pieces
    await trimmer.trim_if_grown()
    await trimmer.close()
    assert len(used) == 2500
    assert grown - resident_bytes() > 4 * GROWTH
