"""What every provider declares beside its wire: set-up in words and commands, and pages made of them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from docs import generate
from vreg_shared.auth_method import TrustContext
from vreg_shared.catalogue import catalogue
from vreg_shared.issuer_documents import subject_of
from vreg_shared.operator_grants import OperatorGrants
from vreg_shared.provider import MethodExample, Provider
from vreg_shared.provider_page import guide, page

PROVIDERS = catalogue().providers
EXAMPLES = [example for provider in PROVIDERS for example in provider.examples]
IDENTITY = "01JDEXAMPLEEXAMPLEEXAMPLE0"
ISSUER = "https://vreg.example.com/oidc"
_SHORTEST_GUIDE = 300

of_every_provider = pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
of_every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.method.tag)


def context(example: MethodExample) -> TrustContext:
    return TrustContext(
        identity_name="an identity",
        external_id="vreg-0123456789abcdef",
        subject=subject_of(IDENTITY),
        issuer_url=ISSUER,
        usable_for=example.usable_for,
    )


@of_every_provider
def test_every_method_is_explained_step_by_step(provider: Provider) -> None:
    assert len(guide(provider, "about")) >= _SHORTEST_GUIDE
    for method in provider.methods:
        assert len(guide(provider, method.tag)) >= _SHORTEST_GUIDE, method.tag


@of_every_provider
def test_every_row_that_a_person_caused_says_what_to_do(provider: Provider) -> None:
    rejections = [rule for kind in provider.kinds for rule in kind.rejections]
    for rule in (*provider.refusals, *rejections):
        assert bool(rule.cause) == bool(rule.remedy), rule
    assert any(rule.cause for rule in (*provider.refusals, *rejections))


@of_every_provider
def test_the_page_tells_methods_fields_hosts_and_causes(provider: Provider) -> None:
    text = page(provider)
    for method in provider.methods:
        assert f"`{method.tag}`" in text
        assert all(f"`{name}`" in text for name in method.model_fields if name != "method")
    for kind in provider.kinds:
        assert kind.example_host in text
    assert all(f"`{rule.reason}`" in text for rule in provider.refusals if rule.cause)


def test_the_pages_under_docs_are_what_the_declarations_say() -> None:
    written = {path.name: path.read_text() for path in generate.FOLDER.glob("*.md")}
    assert written == generate.pages(catalogue()), "run `make docs`"
    tests = (generate.FOLDER.parent / "connection-test.md").read_text(encoding="utf-8")
    assert tests == generate.connection_test_page(), "run `make docs`"


def test_pages_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    generate.write(tmp_path / "pages")
    assert {path.name for path in (tmp_path / "pages").iterdir()} >= {"README.md", "aws.md"}


@of_every_example
def test_an_example_is_unobjectionable_where_the_operator_permits_it(example: MethodExample) -> None:
    need = example.method.identity_token
    names = {need.file: Path("/run/token")} if need is not None and need.file is not None else {}
    grants = OperatorGrants(frozenset({example.method.tag}), names, ISSUER)
    assert grants.objections(example.method) == ()
    assert example.method.objections(example.usable_for, datetime(2026, 11, 24, tzinfo=UTC)) == ()


@of_every_example
def test_what_needs_the_operator_is_refused_without_him(example: MethodExample) -> None:
    needs_operator = example.method.is_ambient or example.method.identity_token is not None
    assert bool(OperatorGrants().objections(example.method)) == needs_operator


@of_every_example
def test_keyless_trust_names_issuer_subject_and_audience(example: MethodExample) -> None:
    steps = example.method.trust_steps(context(example))
    text = "\n".join(step.text for step in steps)
    need = example.method.identity_token
    if need is not None and need.file is None:
        assert ISSUER.removeprefix("https://") in text
        assert need.audience in text
        assert subject_of(IDENTITY) in text
    assert all(step.title and step.text and step.language in {"sh", "json", "text"} for step in steps)
