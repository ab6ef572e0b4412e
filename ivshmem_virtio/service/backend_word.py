# SPDX-License-Identifier: MIT
"""What a back-end may say to its keeper. A guest may have taken it over: nothing is taken on trust."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, StrictStr, ValidationError

from ivshmem_virtio.service.channel import ChannelError, Message


class Word(BaseModel):
    """One message. ``guest`` and ``error`` go with ready, served and failed, ``guests`` with serving."""

    type: Literal["hello", "ready", "served", "failed", "serving"]
    guest: StrictStr = ""
    error: StrictStr = ""
    guests: tuple[StrictStr, ...] = ()


def word_of(message: Message) -> Word:
    """The message, checked; raises ChannelError."""
    try:
        return Word.model_validate(message)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ChannelError(f"a back-end's message has no usable {first['loc'][0]}: {first['msg']}") from None
