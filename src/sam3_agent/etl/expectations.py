"""What a usable set of pairs satisfies, as Great Expectations suites, and what came out of checking it.

Each expectation is described in words that stand in the data docs, in reports/validate.json and in the error.
To add one: a column in `tables` if need be, and a line in `image_suite` or `annotation_suite`.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


SHOWN = 10  # rows named for each failed expectation


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation that failed.

    Attributes:
        table: "images" or "annotations".
        expected: the expectation in words.
        fatal: False for a warning.
        count: failing rows; 0 when the table as a whole fails.
        rows: the first ten, "id 7 (hen/a.jpg)".
        observed: the value of a check on the table as a whole, as text.
    """

    table: str
    expected: str
    fatal: bool
    count: int
    rows: list[str]
    observed: str = ""

    def __str__(self) -> str:
        where = f": {self.count} rows, {', '.join(self.rows)}" if self.rows else ""
        found = f" (found {self.observed})" if self.observed else ""
        return f"{self.table}: {self.expected}{found}{where}"


def image_suite(concept: str) -> list[Any]:
    """Expectations on the table of pairs."""
    from great_expectations import expectations as gxe
    from great_expectations.expectations.metadata_types import FailureSeverity

    columns = ("id", "file_name", "text_input", "height", "width", "is_instance_exhaustive", "source", "kind")
    return [
        *(gxe.ExpectColumnToExist(column=name, description=f"there is a column {name}") for name in columns),
        gxe.ExpectColumnValuesToBeUnique(column="id", description="ids are unique"),
        gxe.ExpectColumnValuesToBeUnique(column="pair", description="a picture is asked for the same words once"),
        gxe.ExpectColumnValuesToNotBeNull(column="source", description="every pair has a source"),
        gxe.ExpectColumnValuesToBeBetween(column="height", min_value=1, description="height is 1 or more"),
        gxe.ExpectColumnValuesToBeBetween(column="width", min_value=1, description="width is 1 or more"),
        gxe.ExpectColumnValuesToMatchRegex(column="text_input", regex=r"\S", description="text_input is not empty"),
        gxe.ExpectColumnValuesToBeInSet(
            column="text_input",
            value_set=[concept],
            description=f'text_input is "{concept}"',
            severity=FailureSeverity.WARNING,
        ),
        gxe.ExpectColumnValuesToNotMatchRegex(
            column="file_name",
            regex=r"^/|(?:^|/)\.\.(?:/|$)",
            description="file_name stays in the images folder",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="is_instance_exhaustive", value_set=[0, 1], description="is_instance_exhaustive is 0 or 1"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="kind_fits",
            value_set=[True],
            description="negatives have no annotations, positives have some",
        ),
        gxe.ExpectColumnMaxToBeBetween(column="positive", min_value=1, description="some pair is positive"),
        gxe.ExpectColumnMeanToBeBetween(
            column="positive",
            min_value=0.1,
            max_value=0.9,
            description="between 10 % and 90 % of the pairs are positive",
            severity=FailureSeverity.WARNING,
        ),
    ]


def annotation_suite() -> list[Any]:
    """Expectations on the table of annotations."""
    from great_expectations import expectations as gxe

    flags = {
        "image_exists": "image_id is that of a pair",
        "bbox_inside": "bbox is xywh inside 0..1 with a size above 0",
        "decodes": "segmentation decodes to the size of its picture",
    }
    return [
        gxe.ExpectColumnValuesToBeUnique(column="id", description="ids are unique"),
        *(
            gxe.ExpectColumnValuesToBeInSet(column=name, value_set=[True], description=words)
            for name, words in flags.items()
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="area", description="there is an area"),
        gxe.ExpectColumnValuesToBeBetween(
            column="area",
            min_value=0,
            strict_min=True,
            max_value=1,
            description="area is a fraction of the picture, above 0",
        ),
        gxe.ExpectColumnValuesToBeInSet(column="iscrowd", value_set=[0, 1], description="iscrowd is 0 or 1"),
        gxe.ExpectColumnValuesToBeBetween(
            column="roundtrip_gap", max_value=1, description="the decoded mask has the stored area"
        ),
    ]


def check(tables: dict[str, pd.DataFrame], suites: dict[str, list[Any]], docs: Path) -> list[Finding]:
    """Check every table against its suite and write data docs.

    Args:
        tables: table name -> rows, with columns id and file_name.
        suites: table name -> expectations.
        docs: an empty folder for the HTML pages; index.html is the way in.
    """
    gx = _quiet_great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    _add_docs(context, docs)
    source = context.data_sources.add_pandas("pairs")
    findings = []
    for name, table in tables.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=suites[name]))
        definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["local"])],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id", "file_name"]},
        )
        run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
        (result,) = run.run_results.values()
        findings += [_finding(name, row) for row in result.results if not row.success and _is_said(row, table)]
    return findings


def _quiet_great_expectations() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    return gx


def _add_docs(context: Any, docs: Path) -> None:
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    site = {"class_name": "SiteBuilder", "store_backend": store}
    site["site_index_builder"] = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(site_name="local", site_config=site)


def _is_said(row: Any, table: pd.DataFrame) -> bool:
    """False for a check of a column that is not there: that it is missing is a finding of its own."""
    config = row.expectation_config
    return config.type == "expect_column_to_exist" or config.kwargs["column"] in table.columns


def _finding(table: str, row: Any) -> Finding:
    config, result = row.expectation_config, row.result
    index = result.get("unexpected_index_list") or []
    rows = [f"id {entry['id']} ({entry['file_name']})" for entry in index[:SHOWN]]
    observed = result.get("observed_value")
    fatal = str(getattr(config.severity, "value", config.severity)) != "warning"
    shown = "" if observed is None else f"{observed:.3g}"
    return Finding(table, config.description, fatal, len(index), rows, shown)
