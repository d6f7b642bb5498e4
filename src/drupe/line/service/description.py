"""The service in OpenAPI's words (3.1), and a page of it that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import drupe
from drupe.deployment.manifest import Manifest
from drupe.line.service.answers import BY_CARE
from drupe.line.service.bodies import LONGEST_ITEM
from drupe.line.service.succession import FEWEST_FRAMES
from drupe.templates import template_environment

TEXT: dict[str, Any] = {"type": "string"}
NULLABLE: dict[str, Any] = {"type": ["string", "null"]}

REFUSALS = {
    400: "Headers or body aren't as stated here.",
    401: "The token is missing or wrong.",
    403: "Another site's page asks, or nothing may be changed here.",
    404: "No such address.",
    405: "Another method.",
    408: "The body didn't arrive in time.",
    413: "More bytes or images than are taken.",
    415: "A packed body.",
    421: "Another host's name, where no token is asked for.",
    422: "An image can't be read; in a batch the others are decided all the same.",
    500: "A mistake in the service.",
    503: "Too many requests at once, or decisions can't be made or logged just now.",
    504: "The decision didn't come in time.",
}
"""HTTP codes with which nothing is decided: the lane of each is ``review``."""

CHANGES = {
    "propose": "Verify a bundle beside the one in force, and compare it on live frames.",
    "withdraw": "Let go of the candidate.",
    "switch": "Put the candidate in force, between two decisions, or refuse.",
    "bring-back": "Put the bundle in force again that was before, once it is verified.",
}

ONE: dict[str, Any] = {
    "item": NULLABLE,
    "lane": {"type": "string", "enum": list(BY_CARE)},
    "score": {"type": ["number", "null"], "description": "Probability of a defect."},
    "fault": {**NULLABLE, "description": "Why there is no score; such an image is reviewed."},
    "type": {**TEXT, "description": "Of a defect, from a bundle that tells types."},
    "p_value": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "description": "Of an item of either class lying as far off from what was learnt, where "
        "there is a score, from a bundle that tells what is unknown.",
    },
}
BY: dict[str, Any] = {
    "bundle": {**TEXT, "description": "The digest of the bundle that decided."},
    "function": {**TEXT, "description": "Backend and precision."},
}


@dataclass(frozen=True)
class Call:
    """A call on the page: what it takes and how it is answered, each as (name, words)."""

    method: str
    path: str
    summary: str
    body: str
    parameters: Sequence[tuple[str, str]]
    answers: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, method: str, path: str, call: Mapping[str, Any]) -> Self:
        """Take it from an OpenAPI document."""
        body = call.get("requestBody", {})
        words = body.get("description", "")
        if body and not words:
            keys = body["content"]["application/json"]["schema"]["properties"].items()
            words = "JSON with " + ", ".join(
                f"{key} ({about['default']} if left out)" if "default" in about else key
                for key, about in keys
            )
        return cls(
            method.upper(),
            path,
            call["summary"],
            words,
            [(one["name"], one["description"]) for one in call.get("parameters", ())],
            [(code, said["description"]) for code, said in call["responses"].items()],
        )


def api_document(manifests: Mapping[str, Manifest], seconds: float) -> dict[str, Any]:
    """Return the OpenAPI document of a service of these bundles, by name."""
    paths: dict[str, Any] = {
        path: _decide(name, manifest, seconds)
        for name, manifest in manifests.items()
        for path in ([f"/{name}/decide", "/decide"] if len(manifests) == 1 else [f"/{name}/decide"])
    }
    health = {"/healthz": "The process lives.", "/readyz": "It decides and logs."}
    for path, summary in health.items():
        said = {"200": {"description": "Yes."}, "503": {"description": "No, and why."}}
        paths[path] = {"get": {"summary": summary, "security": [], "responses": said}}
    figures = {"200": {"description": "Figures for Prometheus.", "content": {"text/plain": {}}}}
    paths["/metrics"] = {"get": {"summary": "Figures for Prometheus.", "responses": figures}}
    for name in manifests:
        paths |= _changes(name)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Drupe",
            "version": drupe.__version__,
            "description": "An item is accepted where the code is 200 and lane says accept, and "
            "in no other case: no answer, a late one and any other code mean review.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Decision": {"type": "object", "required": ["lane"], "properties": {**ONE, **BY}},
                "Batch": {
                    "type": "object",
                    "required": ["lane", "images"],
                    "properties": {
                        "lane": {**ONE["lane"], "description": "That of the worst image."},
                        "images": {
                            "type": "array",
                            "items": {"type": "object", "properties": ONE},
                        },
                        **BY,
                    },
                },
            },
        },
        "security": [{"token": []}],
    }


def _decide(name: str, manifest: Manifest, seconds: float) -> dict[str, Any]:
    contract = manifest.input.contract
    height, width, channels = contract.shape
    sides = f"{height},{width}" if contract.sizes == "refuse" else "H,W"
    order = "mono" if contract.is_mono else "rgb or bgr"
    headers = {
        "Drupe-Item": f"The item's name, up to {LONGEST_ITEM} characters of ASCII; it comes back, "
        "and stands in the log.",
        "Drupe-Deadline-Ms": "Milliseconds until the answer is of no use; at most "
        f"{1000 * seconds:g}, which holds without it.",
        "Drupe-Shape": f"Of raw pixels: {sides},{channels} or N,{sides},{channels}; rows from the "
        "top, channels last.",
        "Drupe-Dtype": f"Of raw pixels: {contract.dtype.name}"
        + ("." if contract.dtype.itemsize == 1 else ", the lower byte first."),
        "Drupe-Order": f"Of raw pixels: {order}.",
    }
    binary = {"schema": {"type": "string", "format": "binary"}}
    either = {"oneOf": [{"$ref": f"#/components/schemas/{one}"} for one in ("Decision", "Batch")]}
    content = {"application/json": {"schema": either}}
    told = {"Drupe-Lane": {"description": "The lane once more.", "schema": TEXT}}
    done = {"200": {"description": "Decided.", "headers": told, "content": content}}
    refused = {
        str(code): {"description": f"Review. {why}", "headers": told, "content": content}
        for code, why in REFUSALS.items()
    }
    return {
        "post": {
            "summary": f"Decide images with {name}: {' or '.join(manifest.classes)}.",
            "parameters": [
                {"name": one, "in": "header", "description": about, "schema": TEXT}
                for one, about in headers.items()
            ],
            "requestBody": {
                "required": True,
                "description": "A PNG, JPEG, BMP, TIFF or WebP; several as parts of a form, each "
                "with its file's name; or raw pixels with the three headers.",
                "content": {
                    "image/*": binary,
                    "multipart/form-data": {"schema": {"type": "object"}},
                    "application/octet-stream": binary,
                },
            },
            "responses": done | refused,
        }
    }


def _changes(name: str) -> dict[str, Any]:
    bodies: dict[str, dict[str, Any]] = {
        "propose": {"bundle": {**TEXT, "description": "A folder beside the bundle."}},
        "switch": {
            "frames": {"type": "integer", "minimum": 0, "default": FEWEST_FRAMES},
            "turned": {"type": "integer", "minimum": 0, "default": 0},
        },
    }
    responses = {
        "200": {"description": "Done; what is in force, and how the candidate compares."},
        "409": {"description": "Refused, and why; what was in force stays."},
    }
    status = "What is in force, and how the candidate compares."
    paths = {f"/admin/{name}": {"get": {"summary": status, "responses": responses}}}
    for change, summary in CHANGES.items():
        post: dict[str, Any] = {"summary": summary, "responses": responses}
        if change in bodies:
            schema = {"type": "object", "properties": bodies[change]}
            post["requestBody"] = {"content": {"application/json": {"schema": schema}}}
        paths[f"/admin/{name}/{change}"] = {"post": post}
    return paths


def api_page(document: Mapping[str, Any]) -> str:
    """Return the document as a page: no script, and a style sheet of its own."""
    template = template_environment("drupe.line.service", {}, is_html=True).get_template(
        "api.html.j2"
    )
    calls = [
        Call.of(method, path, call)
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    return template.render(info=document["info"], calls=calls)
