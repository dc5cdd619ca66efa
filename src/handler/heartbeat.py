"""The heartbeat: a health check that finds no problem pings a dead man's switch outside the account.

Works with Healthchecks.io, PagerDuty and others: a GET of the configured URL. The URL is a secret and is never logged.
"""

from urllib.parse import urlsplit

import urllib3

from handler.pagerduty.connections import make_pool

TIMEOUT_SECONDS = 5.0


class Heartbeat:
    """Pings one URL.

    Args:
        url: the URL, a secret.
        proxy_url: the proxy to use, or None.
    """

    def __init__(self, url: str, proxy_url: str | None) -> None:
        self._url = url
        self._pool = make_pool(proxy_url)

    def beat(self) -> str:
        """Send one heartbeat; return a sentence about what went wrong without the URL, or an empty text."""
        return ping(self._pool, self._url)


def ping(pool: urllib3.PoolManager, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """Request the URL once; return a sentence about the problem without the URL, or an empty text. Never raises.

    Redirects are not followed: the other host would learn the URL, and could keep the switch from firing.
    """
    host = ""
    try:
        host = urlsplit(url).hostname or ""
        answer = pool.request(
            "GET",
            url,
            timeout=urllib3.Timeout(total=timeout_seconds),
            redirect=False,
            retries=False,
            preload_content=False,
        )
        status, location = answer.status, answer.headers.get("Location", "")
        # one connection every five minutes: it is not used again, and the body does not matter
        answer.close()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return f"heartbeat: {host or 'HeartbeatUrl'} does not answer: {type(error).__name__}"
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"heartbeat: {host} redirects to {_host(location)}: set HeartbeatUrl to the address it redirects to"
    return f"heartbeat: {host} answers {status}: check HeartbeatUrl"


def _host(location: str) -> str:
    try:
        return urlsplit(location).hostname or "another path"
    except ValueError:
        return "another address"
