import pytest
import torch

from medimg.commands import precision
from medimg.commands.precision import cpu_has_bf16, resolve_precision


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: supported)
    assert resolve_precision("auto", "cpu") == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_precision("auto", "auto") == expected


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_follows_the_card(monkeypatch: pytest.MonkeyPatch, supported: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: not supported)
    assert resolve_precision("auto", "gpu") == expected
    assert resolve_precision("auto", "auto") == expected


@pytest.mark.parametrize("given", [None, "32-true", "16-mixed", 64])
def test_a_given_precision_stays(given: object) -> None:
    assert resolve_precision(given, "cpu") == given


def test_a_processor_without_these_functions_has_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert cpu_has_bf16() is False
