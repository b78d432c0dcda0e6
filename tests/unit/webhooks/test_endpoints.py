"""What counts as one endpoint."""

from __future__ import annotations

from webhooks.endpoints import endpoint_of


def test_query_and_case_of_the_host_do_not_make_another_endpoint():
    one = endpoint_of("acme", "https://a.example/hook")
    assert len(one) == 32
    assert endpoint_of("acme", "https://A.example/hook?token=1") == one
    assert endpoint_of("acme", "HTTPS://a.example/hook#x") == one


def test_path_port_scheme_and_tenant_do():
    urls = ["https://a.example/", "https://a.example/hook", "https://a.example:8443/hook"]
    urls += ["http://a.example/hook"]
    ids = {endpoint_of(tenant, url) for tenant in ("acme", "other") for url in urls}
    assert len(ids) == 8
