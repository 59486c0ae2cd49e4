"""The curated tables: every name leads somewhere, nothing is claimed twice."""

from __future__ import annotations

from collections import Counter

from sam3_agent.barnyard import tables

FREE = ("Apache-2.0", "MIT", "CC-BY-4.0", "CC0-1.0", "GPL-2.0", "BSD-3-Clause", "Public domain")


def test_every_licence_allows_redistribution() -> None:
    for package in tables.packages().values():
        assert all(part.startswith(FREE) for part in package.licence.split(" AND ")), package.name


def test_an_emoji_names_one_concept() -> None:
    claims = Counter(
        key for concept in tables.vocabulary().values() for key in {name.replace("-", "") for name in concept.emoji}
    )
    assert [key for key, number in claims.items() if number > 1] == []


def test_synonyms_never_run_in_circles() -> None:
    vocabulary = tables.vocabulary()
    for concept in vocabulary.values():
        for broader in concept.synonyms[1:]:
            if broader in vocabulary:
                assert concept.name not in vocabulary[broader].synonyms, (concept.name, broader)


def test_pictures_and_backgrounds_come_from_known_packages_and_show_known_concepts() -> None:
    packages, vocabulary = tables.packages(), tables.vocabulary()
    assert {row.concept for row in tables.pictures()} <= set(vocabulary)
    assert {row.package for row in (*tables.pictures(), *tables.backgrounds())} <= set(packages)


def test_no_background_shows_the_concept_of_the_barnyard() -> None:
    assert not [row.path for row in tables.backgrounds() if {"chicken", "bird", "animal"} & set(row.shows)]
