import pytest

from inference import tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("hello world", [15339, 1917]),
        ("tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
        ("<|endoftext|>", [27, 91, 8862, 728, 428, 91, 29]),
    ],
)
def test_text_is_split_like_cl100k_base(text: str, expected: list[int]) -> None:
    assert tokens.encode(text) == expected
    assert tokens.count(text) == len(expected)


@pytest.mark.parametrize("text", ["", "a" * 10_000, "é漢字 🙂\n\n\tx", "<|endoftext|>", "\u0000"])
def test_decoding_restores_the_text(text: str) -> None:
    assert tokens.decode(tokens.encode(text)) == text


@pytest.mark.parametrize("token", [-1, 100_261, 2**31, 2**40])
def test_an_unknown_token_is_refused(token: int) -> None:
    with pytest.raises(ValueError, match="is not a token"):
        tokens.decode([token])


def test_half_a_character_is_decoded_with_a_replacement() -> None:
    assert "\ufffd" in tokens.decode(tokens.encode("漢")[:1])
