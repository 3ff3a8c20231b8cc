import instructor
from openai import OpenAI
from pydantic import BaseModel, field_validator
from scripts import URL, script

client = instructor.from_openai(OpenAI(base_url=URL, api_key="any", max_retries=0))


class User(BaseModel):
    name: str
    age: int

    @field_validator("age")
    @classmethod
    def positive(cls, age: int) -> int:
        if age < 0:
            raise ValueError("an age is not negative")
        return age


def ask(*answers: dict) -> dict:
    turns = [{"calls": [{"name": "User", "arguments": answer}]} for answer in answers]
    return {"model": "any-model", "messages": [{"role": "user", "content": script(*turns)}]}


# A call of a function; a wrong one is sent back with the error, and asked for again.
wrong, right = {"name": "Ada", "age": -36}, {"name": "Ada", "age": 36}
for answers in ([right], [wrong, right]):
    user = client.create(response_model=User, max_retries=2, **ask(*answers))
    assert user.model_dump() == right

# A stream.
*_, last = client.create_partial(response_model=User, **ask(right))
assert last.model_dump() == right
