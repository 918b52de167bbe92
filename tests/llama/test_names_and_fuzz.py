"""Promotions under traffic, versions on demand, and whatever else is sent: held to llama.cpp as they are to vLLM."""

from __future__ import annotations

from tests.vllm.test_fuzz import test_no_request_to_the_models_is_a_server_error  # noqa: F401  tests are what pytest finds here
from tests.vllm.test_names_and_keys import (  # noqa: F401
    test_a_promotion_under_traffic_loses_no_request_and_holds_from_one_request_to_the_next,
    test_the_description_tells_of_the_routes_that_there_are,
    test_versions_that_are_not_loaded_answer_when_they_are_asked_for_however_many_there_are,
    versions,
)
