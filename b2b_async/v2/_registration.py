"""Verify whether an order is registered: what became of a creation whose response is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs

from b2b_async import _arguments as arguments
from b2b_async._envelope import Envelope, is_same_id
from b2b_async._messages import Operation, Reconciliation, Verification
from b2b_async.errors import Answer, ConflictError, InvalidArgumentError, ResponseValidationError

if TYPE_CHECKING:
    from b2b_async._messages import Response
    from b2b_async.client import Client

GET_COMPANY_BY_BC_ORDER_ID = Operation("Get Company By BC OrderId", "v2", "GET", "/orders/{orderBCId}/companyIdBCId")
_GET_ORDER = Operation("Get Order", "v3", "GET", "/orders/{bcOrderId}")  # endpoints do not know each other
_ABSENT = frozenset({404, 40013})
"""v3 says 404 and v2 40013, "Order does not exist."; any other refusal of a query is not about the order."""


class Registration:
    """The registration of an order with a company: how to verify it, and whether that was done.

    Args:
        client: Its credentials decide which queries are open.
        operation: The creation whose response is lost.
        company_id: The company that it should be registered with; None for any.
        order_id: The BigCommerce order id.
    """

    def __init__(self, client: Client, operation: Operation, company_id: str | None, order_id: str) -> None:
        """Send nothing yet."""
        self._credentials = client.credentials
        self._operation = operation
        self._company_id, self._order_id = company_id, order_id
        arguments.path_id(order_id, "order_id")
        self.found = False
        """A verification has found it registered."""

    def reconciliation(self, *, wanted: bool, resend_if_absent: bool) -> Reconciliation | None:
        """Return how to find out what became of a call whose response is lost; None if the caller does not want it."""
        arguments.flag(wanted, "reconcile")
        if arguments.flag(resend_if_absent, "resend_if_absent") and not wanted:
            message = "resend_if_absent needs reconcile: only a verification can show that the order is absent"
            raise InvalidArgumentError(message)
        return Reconciliation(verifications=self.verifications(), resend_if_absent=resend_if_absent) if wanted else None

    def check(self, envelope: Envelope) -> str | None:
        """Return what is wrong with a response that reports success: it may belong to the creation of another order."""
        record = envelope.only_object
        order_id: object = record.get("orderId", record.get("order_id"))
        if order_id is None:
            # The response to "Create Order Without CompanyID" need not name the order.
            return None if self._company_id is None else "it names no order"
        if is_same_id(order_id, self._order_id):
            return None
        return f"it is not about order {self._order_id}, which was sent, but about another one, or none"

    def verifications(self) -> tuple[Verification, ...]:
        """Return the queries that the credentials of the client open, the best first."""
        operations: tuple[Operation, ...] = (GET_COMPANY_BY_BC_ORDER_ID,)
        if self._credentials.access_token is not None and _is_number(self._order_id):
            # v2 answers for any order id; v3 is not deprecated, but takes numbers only.
            operations = (_GET_ORDER, GET_COMPANY_BY_BC_ORDER_ID)
        return tuple(
            Verification(
                operation=operation, path=operation.path(self.parameters(operation)), read=self._read, absent=_ABSENT
            )
            for operation in operations
        )

    def parameters(self, operation: Operation) -> dict[str, str]:
        """Return the path parameters of a query: the order's id."""
        (name,) = operation.parameters
        return {name: self._order_id}

    def _read(self, response: Response) -> Response | None:
        company = self._company(response)
        if company is None:
            return None
        if self._company_id is not None and not is_same_id(company, self._company_id):
            message = (
                f"{self._operation.name}: a verification shows order {self._order_id} registered "
                f"with company {self._credentials.redact(company)}, not with company {self._company_id}"
            )
            request_id = self._credentials.redact(response.request_id or "") or None
            answer = Answer(status=409, under_success=True, request_id=request_id)
            raise ConflictError(message, answer=answer, outcome="unknown", operation=self._operation.name)
        self.found = True
        # What the lost response would have said.
        return attrs.evolve(response, envelope=Envelope({"code": 200, "data": {"orderId": self._order_id}}))

    def _company(self, response: Response) -> str | None:
        """Read the company that the order is registered with; v3 sends the order alone or in a list, v2 the company."""
        data = None if response.envelope is None else response.envelope.data
        if data == []:
            return None
        for record in cast("list[object]", data) if isinstance(data, list) else [data]:
            known = cast("dict[str, object]", record) if isinstance(record, dict) else {}
            if is_same_id(known.get("bcOrderId", self._order_id), self._order_id) and "companyId" in known:
                company = known["companyId"]
                if company is None or str(company).strip() in {"", "0"}:
                    return None
                if isinstance(company, str | int) and not isinstance(company, bool):
                    return str(company) if isinstance(company, str) else f"{company:d}"
        # To take it for an absence could bring about a second creation.
        message = "the response to a verification names no company of the order"
        raise ResponseValidationError(message, answer=Answer(status=response.status, request_id=response.request_id))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
