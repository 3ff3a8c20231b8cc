"""A change that errata make to the bodies of requests."""

from spec.types import JSON


def required_bodies(document: JSON) -> bool:
    """Require each body of which a member is required, and have it be an object."""
    components = document["components"]["schemas"]
    operations = [one for item in document["paths"].values() for one in item.values()]
    applied = False
    for body in (one.get("requestBody") or {} for one in operations):
        for content in body.get("content", {}).values():
            schema = content.get("schema", {})
            schema = components[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
            is_open = not body.get("required") or "type" not in schema
            if "properties" in schema and schema.get("required") and is_open:
                body["required"] = applied = True
                schema["type"] = "object"
    return applied
