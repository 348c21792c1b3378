"""Small inputs that once failed, each standing for a kind: which test would fail if it came back.

A test that is renamed or removed fails here: name the one that took its place.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent

#: By the number of the input: what failed, and its tests, as file::function below this folder.
SMALL_INPUTS: dict[int, tuple[str, tuple[str, ...]]] = {
    1: ("a module in the current folder is not found by the installed command",
        ("cli/test_small_inputs.py::test_a_module_in_the_current_folder_is_found",
         "test_registry.py::test_a_users_module_is_found_from_a_folder_of_the_project")),
    2: ("the gate vanishes below a pytest.ini, with a folder, with -c, and the run is green",
        ("test_pytest_neighbours.py::test_the_table_is_found_from_where_pytest_is_started",
         "test_pytest_neighbours.py::test_a_gate_that_has_no_table_says_so_and_is_not_green")),
    3: ("a missing data set keeps ordinary tests from running",
        ("test_pytest_neighbours.py::test_ordinary_tests_run_though_a_dataset_is_missing",
         "test_pytest_neighbours.py::"
         "test_a_missing_dataset_is_a_counted_skip_or_on_demand_a_failure")),
    4: ("attempts of pytest-rerunfailures count as cases",
        ("test_pytest_neighbours.py::test_the_last_attempt_of_a_case_counts",)),
    5: ("two data sets of one file name are one case",
        ("test_settings.py::test_two_datasets_of_one_file_name_are_refused",)),
    6: ("markers of qreg's own tests are registered for everyone",
        ("test_pytest_neighbours.py::test_an_installed_qreg_gives_a_project_one_marker",)),
    7: ("view after a convolution fails on channels_last",
        ("measure/test_contract.py::test_a_network_that_flattens_with_view_is_measured",
         "training/test_loading.py::test_a_model_that_flattens_with_view_trains")),
    8: ("fuse_model(self) without is_qat is a TypeError",
        ("measure/test_contract.py::test_fuse_model_is_called_as_its_signature_allows",)),
    9: ("a plain + prints dispatch keys",
        ("cli/test_new_user.py::test_a_blocked_method_has_one_text_wherever_it_is_blocked",
         "check/test_attempt.py::test_a_method_that_is_blocked")),
    10: ("a model that is quantized already is taken for fp32",
         ("models/test_contract.py::test_a_model_that_is_quantized_already_is_refused",
          "check/test_contract.py::test_a_model_that_is_quantized_already")),
    11: ("other weights of a factory are REGRESSED",
         ("checks/test_verdict.py::"
          "test_of_other_weights_nothing_is_comparable_however_much_has_moved",)),
    12: ("NaN logits are measured as any others",
         ("measure/test_contract.py::test_a_reference_that_is_no_number_is_refused",
          "checks/test_verdict.py::test_what_is_no_number_is_no_first_baseline_without_a_word")),
    13: ("weights of attention and recurrent layers stay float unnamed and uncounted",
         ("metrics/test_parameters.py::test_recurrent_and_attention_weights_are_counted",
          "metrics/test_graph_layers.py::"
          "test_weights_that_stay_float_in_recurrent_layers_and_attention")),
    14: ("squeeze() fails on the last batch of one, after the work",
         ("measure/test_contract.py::test_a_batch_of_one_is_tried_before_the_run",
          "check/test_contract.py::test_a_batch_of_one")),
    15: ("a checkpoint overrides the weights that a factory brings",
         ("training/test_loading.py::"
          "test_a_checkpoint_of_other_weights_than_the_factorys_is_refused",)),
    16: ("QAT does not start from brought weights, and fails after the epochs",
         ("training/test_loading.py::test_a_fine_tuning_starts_from_brought_weights",
          "training/test_loading.py::"
          "test_what_cannot_be_converted_is_found_before_the_first_epoch")),
    17: ("PT2E graphs crash the gate, and one failure prints thousands of lines",
         ("metrics/test_graph_layers.py::test_graphs_whose_values_are_not_all_tensors",
          "quantization/test_pt2e_in_the_gate.py::test_a_failing_case_prints_a_few_lines")),
    18: ("a recurrent weight that moved is blamed on an innocent layer",
         ("gate/test_explain.py::test_a_recurrent_layer_is_named_and_no_innocent_one",)),
    19: ("a conftest.py that reads item.function ends in INTERNALERROR",
         ("test_pytest_neighbours.py::test_a_conftest_that_reads_test_functions_reads_cases",)),
    20: ("sorted data is calibrated on and judged by one class",
         ("data/test_draw.py::test_sorted_classes_are_all_drawn_by_their_share",
          "gate/test_samples.py::test_sorted_classes_are_all_sampled")),
    21: ("more outputs than classes are cut off without a word",
         ("check/test_rule.py::test_each_finding",
          "gate/test_judge.py::"
          "test_outputs_that_are_no_class_are_said_of_a_pass_and_on_the_table")),
    22: ("labels of shape (N, 1) are a traceback after the work",
         ("data/test_npz.py::test_data_that_cannot_be_data_is_named",)),
    23: ("with gaps in test_index an unchanged case is REGRESSED",
         ("gate/test_samples.py::"
          "test_with_gaps_in_the_index_the_whole_split_and_the_gate_cut_batches_alike",)),
    24: ("16-bit grey becomes white and an alpha channel is dropped, silently",
         ("data/test_folder.py::test_modes_other_than_rgb_are_converted_and_reported",)),
    25: ("photos of several sizes are refused, and stacked in memory",
         ("data/test_folder.py::test_photos_of_several_sizes_with_a_torchvision_transform",
          "data/test_folder.py::test_more_than_the_cache_takes_is_decoded_as_it_comes")),
    26: ("a stray hidden folder is a class, with a fresh cache only",
         ("data/test_folder.py::test_hidden_folders_are_no_classes_with_a_warm_cache_neither",
          "data/test_folder.py::test_a_new_class_shifts_labels_with_a_warm_cache_too")),
    27: ("a last batch of one under BatchNorm is a traceback",
         ("training/test_loading.py::test_a_last_batch_of_one_joins_the_one_before_it",)),
    28: ("data and weights that git ignores are missing in the worktree of a speed check",
         ("processes/test_sides.py::test_weights_that_git_ignores_are_the_projects_own",
          "cli/speed/test_command.py::"
          "test_the_projects_own_data_and_all_models_are_measured")),
    29: ("speed check takes the last of several models",
         ("test_names.py::test_lists_and_repeats_are_the_same",
          "cli/speed/test_command.py::"
          "test_the_projects_own_data_and_all_models_are_measured")),
    30: ("a confirmation drops the options it was asked with, and a series mixes batch sizes",
         ("speed/history/test_history.py::"
          "test_a_confirmation_is_measured_as_the_series_and_with_the_options_given",
          "speed/history/test_history.py::"
          "test_a_series_has_one_batch_size_and_one_number_of_threads")),
    31: ("a candidate without torchvision is said to fail",
         ("upgrade/compare/test_case.py::"
          "test_a_candidate_that_lacks_a_package_is_not_compared",)),
}  # fmt: skip


def _tests(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("number", SMALL_INPUTS)
def test_each_small_input_has_its_test(number: int) -> None:
    what, tests = SMALL_INPUTS[number]
    assert tests, what
    for test in tests:
        file, _, name = test.partition("::")
        assert name in _tests(_HERE / file), f"{what}: no {test}"


def test_all_are_listed() -> None:
    assert list(SMALL_INPUTS) == list(range(1, 32))
