from typing import get_args

from medimg.submission.formats import FORMATS
from medimg.submission.names import FormatName


def test_every_name_has_a_format():
    assert get_args(FormatName) == tuple(FORMATS)
