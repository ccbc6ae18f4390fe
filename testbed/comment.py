"""Post a report to a pull request once, and edit it from then on."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PAGE = 100


class CommentError(RuntimeError):
    """GitHub did not take the comment; the message says what it answered and what to do."""


@dataclass(frozen=True)
class PullRequest:
    """A pull request on GitHub.

    Attributes:
        api: base URL of the REST API, ``GITHUB_API_URL`` in a workflow.
        repository: ``owner/name``.
        number: the pull request's.
        token: a token that may write issue comments; never shown.
    """

    api: str
    repository: str
    number: int
    token: str

    def publish(self, marker: str, body: str) -> str:
        """Edit the comment that begins with ``marker``, or post one; return its web address.

        Raises:
            CommentError: when GitHub refuses.
        """
        existing = next((c for c in self._comments() if str(c.get("body", "")).startswith(marker)), None)
        if existing is None:
            answer = self._call("POST", f"/repos/{self.repository}/issues/{self.number}/comments", {"body": body})
        else:
            answer = self._call("PATCH", f"/repos/{self.repository}/issues/comments/{existing['id']}", {"body": body})
        return str(answer.get("html_url", ""))

    def _comments(self) -> Iterator[dict[str, Any]]:
        page = 1
        while True:
            path = f"/repos/{self.repository}/issues/{self.number}/comments?per_page={PAGE}&page={page}"
            found = self._call("GET", path)
            yield from found
            if len(found) < PAGE:
                return
            page += 1

    def _call(self, method: str, path: str, data: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the API's address is the workflow's own
            self.api.rstrip("/") + path,
            method=method,
            data=None if data is None else json.dumps(data).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                return json.load(response)
        except urllib.error.HTTPError as error:
            advice = "give the job `permissions: pull-requests: write`" if error.code in (401, 403) else "try again"
            raise CommentError(f"{method} {path}: GitHub answered {error.code} {error.reason}; {advice}") from None
        except (urllib.error.URLError, TimeoutError) as error:
            raise CommentError(f"{method} {path}: {error}; try again") from None
