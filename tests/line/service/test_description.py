from __future__ import annotations

import re

from starlette.routing import Route

from drupe.line.service.description import CHANGES, REFUSALS
from drupe.line.service.guard import OPEN


def test_the_document_names_every_address_and_every_code(served) -> None:
    one = served()
    document = one.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    routes = {
        (method, route.path.replace("{name}", "now"))
        for route in one.client.app.routes
        if isinstance(route, Route)
        for method in route.methods - {"HEAD"}
    }
    pages = {("GET", path) for path in ("/", "/api.css", "/openapi.json")}
    described = {
        (method.upper(), path) for path, calls in document["paths"].items() for method in calls
    }
    assert described == routes - pages
    assert {path for _, path in routes} >= {*OPEN, *(f"/admin/now/{one}" for one in CHANGES)}
    answers = document["paths"]["/decide"]["post"]["responses"]
    assert set(answers) == {"200", *map(str, REFUSALS)}
    references = re.findall(r"#/components/schemas/(\w+)", str(document))
    assert set(references) == set(document["components"]["schemas"])


def test_several_bundles_have_no_short_address(served, bundles) -> None:
    one = served(bundles={"top": bundles / "now.bundle", "side": bundles / "same.bundle"})
    paths = one.client.get("/openapi.json").json()["paths"]
    assert "/decide" not in paths
    assert {"/top/decide", "/side/decide", "/admin/side/switch"} <= set(paths)


def test_the_page_shows_it_without_a_network(served) -> None:
    one = served()
    page = one.client.get("/").text
    assert "16,16,3 or N,16,16,3" in page
    assert "frames (100 if left out), turned (0 if left out)" in page
    assert "<script" not in page
    assert re.findall(r'(?:src|href)="([^"]+)"', page) == ["data:,", "api.css", "openapi.json"]
    assert "color-scheme" in one.client.get("/api.css").text
