"""Which URLs may be called back."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.webhooks.hosts import MAX_URL_LENGTH, AllowedHosts, Callback, CallbackNotAllowedError

ALLOWED = AllowedHosts.parse("Allowed, lis.example.org:8443, 10.1.2.3, [fd00::1], k.example")

ACCEPTED = {
    "http://allowed": Callback("http", "allowed", 80, "/"),
    "https://allowed/": Callback("https", "allowed", 443, "/"),
    "HTTPS://ALLOWED:9/Path": Callback("https", "allowed", 9, "/Path"),
    "http://allowed?x=1": Callback("http", "allowed", 80, "/?x=1"),
    "http://allowed/@evil": Callback("http", "allowed", 80, "/@evil"),
    "http://allowed?@evil/": Callback("http", "allowed", 80, "/?@evil/"),
    "http://allowed/http://evil/": Callback("http", "allowed", 80, "/http://evil/"),
    "http://allowed/a%20b?c=d%26e": Callback("http", "allowed", 80, "/a%20b?c=d%26e"),
    "https://lis.example.org:8443/hook": Callback("https", "lis.example.org", 8443, "/hook"),
    "http://10.1.2.3:5000/": Callback("http", "10.1.2.3", 5000, "/"),
    "http://[fd00::1]/": Callback("http", "fd00::1", 80, "/"),
    "http://[FD00:0:0:0:0:0:0:1]:81/": Callback("http", "fd00::1", 81, "/"),
}

REFUSED = [
    "",
    "allowed",
    "//allowed/",
    "http:allowed/",
    "http:/allowed/",
    "http:///allowed/",
    "http://",
    # Other schemes.
    "ftp://allowed/",
    "file:///etc/passwd",
    "gopher://allowed/",
    "javascript://allowed/%0aalert(1)",
    "unix://allowed/",
    # Userinfo and fragments, where parsers differ about what the host is.
    "http://allowed@evil/",
    "http://allowed:80@evil/",
    "http://evil@allowed/",
    "http://user:password@allowed/",
    "http://evil#@allowed/",
    "http://evil?@allowed/",
    "http://allowed#@evil/",
    "http://allowed/#fragment",
    "http://allowed/?#",
    "http://@allowed/",
    # Names that only look like an allowed one.
    "http://allowed.evil.com",
    "http://evil.com/allowed",
    "http://notallowed/",
    "http://allowed-evil/",
    "http://evil.allowed/",
    "http://allowed./",
    "http://allowed../",
    "http://.allowed/",
    "http://lis.example.org.:8443/",
    "http://lis..example.org:8443/",
    "http://allowed,evil/",
    "http://allowed;evil/",
    "http://allowed&evil/",
    "http://*/",
    # Other ports of a host that is allowed with one.
    "https://lis.example.org/",
    "https://lis.example.org:443/",
    "https://lis.example.org:84430/",
    "http://allowed:0/",
    "http://allowed:65536/",
    "http://allowed:99999/",
    "http://allowed:/",
    "http://allowed:-1/",
    "http://allowed:8o/",
    "http://allowed:80:80/",
    "http://allowed: 80/",
    # Other forms of an address.
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://017700000001/",
    "http://10.1.515/",
    "http://167838211/",
    "http://10.1.2.03/",
    "http://10.1.2.3./",
    "http://10.1.2.3.4/",
    "http://0/",
    "http://0.0.0.0/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:10.1.2.3]/",
    "http://[fd00::1%25eth0]/",
    "http://[fd00::1]evil/",
    "http://[fd00::1/",
    "http://fd00::1/",
    "http://[allowed]/",
    "http://[v1.allowed]/",
    "http://localhost/",
    # Encoded characters in the host, and what is not two hexadecimal digits elsewhere.
    "http://%61llowed/",
    "http://allowed%2eevil/",
    "http://allowed%00.evil/",
    "http://allowed%/",
    "http://allowed/%",
    "http://allowed/%g0",
    # Control characters, spaces, backslashes, quotes.
    "http://allowed/\r\nHost: evil",
    "http://allowed/\n",
    "http://allowed\n",
    "http://allowed\r\n.evil/",
    "http://allow\ned/",
    "http://allowed\t/",
    "\thttp://allowed/",
    " http://allowed/",
    "http://allowed/ ",
    "http://allowed/a b",
    "http://allowed /",
    "http://allowed\x00/",
    "http://allowed/\x7f",
    "http://allowed\\@evil/",
    "http://evil\\@allowed/",
    "http:\\\\allowed\\",
    "http:/\\allowed/",
    "http://allowed/\\..\\",
    'http://allowed/"',
    "http://allowed/<>",
    "http://allowed/{}",
    "http://allowed/[x]",
    "http://allowed/|",
    "http://allowed/^",
    "http://allowed/`",
    # Homographs, and characters that fold into ASCII.
    "http://аllowed/",
    "http://\u24d0llowed/",
    "http://\uff41llowed/",
    "http://allowed\u3002evil/",
    "http://allowed\uff0fevil/",
    "http://allowed\u2044evil/",
    "http://allowed\uff20evil/",
    "http://\u212a.example/",
    "http://allowed\u00ad/",
    "http://allowed\u200b/",
    "http\u017f://allowed/",
    "http://allowed/\u00e9",
    "http://allowed:\u0668\u0660/",
    "http://allowed:\uff18\uff10/",
    "http://" + "a" * 300 + "/",
    "http://allowed/" + "a" * MAX_URL_LENGTH,
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_an_allowed_url_is_taken_apart(url: str) -> None:
    assert ALLOWED.check(url) == ACCEPTED[url]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_is_not_allowed_is_refused(url: str) -> None:
    with pytest.raises(CallbackNotAllowedError) as refused:
        ALLOWED.check(url)
    assert refused.value.code == "callback_not_allowed"
    assert refused.value.http_status == 422
    assert refused.value.detail


def test_an_empty_list_refuses_everything() -> None:
    for text in ("", " ", ","):
        for url in ACCEPTED:
            with pytest.raises(CallbackNotAllowedError, match="No host"):
                AllowedHosts.parse(text).check(url)


URL_PARTS = st.sampled_from(
    [*"hptsa:/@#?\\.[]%0 \n\t", "http", "https", "://", "allowed", "evil", "allowed:80", "10.1.2.3"]
)


@given(st.lists(URL_PARTS, max_size=9), st.booleans())
def test_other_parsers_agree_about_whom_an_accepted_url_calls(
    parts: list[str], with_scheme: bool
) -> None:
    url = ("http://" if with_scheme else "") + "".join(parts)
    try:
        found = ALLOWED.check(url)
    except CallbackNotAllowedError:
        return
    assert found.host in ("allowed", "10.1.2.3")
    assert urlsplit(url).hostname == found.host
    assert httpx.URL(url).host == found.host
    assert (urlsplit(url).port or 80) == found.port or found.scheme == "https"
