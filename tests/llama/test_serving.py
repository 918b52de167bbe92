"""What the endpoint promises, held to llama.cpp: the very tests that vLLM passes, and what is llama.cpp's own."""

from __future__ import annotations

from serve import app
from tests.llama.conftest import LlamaServed
from tests.vllm.test_serving import (  # noqa: F401  tests are what pytest finds here
    replica_pid,
    test_a_bad_body_is_the_callers_fault_and_harms_nobody,
    test_a_judgement_has_both_exact_logprobs,
    test_a_killed_replica_comes_back_with_its_adapters_and_leaves_no_orphan,
    test_a_name_is_never_served_from_another_folder,
    test_a_seed_decides_a_sample_and_prompts_of_one_call_have_their_own,
    test_a_seeded_prompt_as_long_as_the_context_does_not_kill_the_engine,
    test_adapters_load_and_unload_under_traffic_without_a_failed_request,
    test_an_adapter_that_cannot_be_loaded_is_named_and_the_rest_is_served,
    test_an_answer_under_a_grammar_is_one_that_the_parser_takes,
    test_an_openai_client_picks_the_adapter_by_model_name,
    test_an_unknown_version_is_refused_with_the_known_names,
    test_greedy_answers_of_base_and_adapters_equal_transformers_and_peft,
    test_prompts_are_tokenized_as_transformers_does,
    test_the_base_keeps_its_own_answers_while_every_slot_is_taken,
    test_the_canary_tells_an_adapter_from_another,
    test_the_end_token_is_part_of_the_completion,
)


def test_deploying_what_already_runs_keeps_the_replica(served: LlamaServed) -> None:
    before = replica_pid()
    served.deploy(served.adapters)
    assert app.healthy(served.bases) and replica_pid() == before
