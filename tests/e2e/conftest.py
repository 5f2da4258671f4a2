# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the end-to-end tests; what they hand out is described in xbridge.py."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import xbridge  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--keep", action="store_true", help="wait with each topology until a person has looked at it")


def pytest_configure(config):
    config.addinivalue_line("markers", "vhost: needs the vhost-net backend")
    config.addinivalue_line("markers", "native: only on the host itself, not in a VM")
    config.addinivalue_line("markers", "vm: in VMs, where everything is slow, part of the everyday run (-m vm)")
    config.addinivalue_line("markers", "kernels: may differ from kernel to kernel, part of the long run in VMs")
    config.addinivalue_line("markers", "both_ways: with each way out of an uplink, AF_XDP and the packet socket; in VMs only "
                            "in the long run, but with in_vm=True")
    config.addinivalue_line("markers", "dear: takes long in VMs, and differs little from what is run there every day")
    config.addinivalue_line("markers", "long: takes long; run with XB_LONG=1")


def pytest_report_header():
    return f"xbridge: {xbridge.binary()}, backend {xbridge.BACKEND}, scale {xbridge.SCALE}"


def pytest_runtest_setup(item):
    if item.get_closest_marker("vhost") and xbridge.BACKEND != "vhost-net":
        pytest.skip("needs vhost-net")
    if item.get_closest_marker("native") and xbridge.IN_VM:
        pytest.skip("runs natively only")
    if item.get_closest_marker("long") and not os.environ.get("XB_LONG"):
        pytest.skip("takes long: XB_LONG=1")


def pytest_generate_tests(metafunc):
    """What is about sending, accounting, capture or failure is run with both ways out of an uplink."""
    marker = metafunc.definition.get_closest_marker("both_ways")
    if marker:
        all_ways = not xbridge.IN_VM or os.environ.get("XB_LONG") or marker.kwargs.get("in_vm")
        metafunc.fixturenames.insert(0, "tx_way")
        metafunc.parametrize("tx_way", xbridge.TX_WAYS if all_ways else ["packet"], indirect=True)


@pytest.fixture
def tx_way(request):
    """Uplinks of which the test says nothing else send that way."""
    before, xbridge.TX_WAY = xbridge.TX_WAY, request.param
    yield request.param
    xbridge.TX_WAY = before


def pytest_collection_finish(session):
    """In a VM each file that was named has something to run: what nobody has marked is never seen there."""
    if not xbridge.IN_VM or session.config.option.keyword:
        return
    named = {os.path.realpath(arg) for arg in session.config.args if os.path.isfile(arg)}
    idle = named - {os.path.realpath(item.path) for item in session.items}
    if idle:
        raise pytest.UsageError(f"-m '{session.config.option.markexpr}' selects nothing of {', '.join(sorted(idle))}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With a failure comes what the daemon has said."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for bed in getattr(item, "beds", []):
            for daemon in bed.daemons:
                report.sections.append((f"log of {daemon.name}", daemon.text()))


def _maker(request, where):
    beds = []

    def make(**options):
        bed = xbridge.Bed(**options)
        beds.append(bed)
        return bed
    where.beds = beds
    yield make
    problems = []
    for bed in beds:
        if request.config.getoption("--keep"):
            bed.keep()
        try:
            bed.close()
        except AssertionError as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)


@pytest.fixture
def make_bed(request):
    """Makes beds (arguments of xbridge.Bed); closes and checks them after the test."""
    yield from _maker(request, request.node)


@pytest.fixture(scope="module")
def make_module_bed(request):
    """The same, for a bed that all tests of a file share."""
    yield from _maker(request, request.node)


@pytest.fixture
def daemon(bed):
    """The daemon of a file's bed, whose table is empty again after each test, and whose default verdict as it was."""
    before = bed.daemon.ask("steer", "default")["default"]
    yield bed.daemon
    bed.daemon.ask("steer", "flush")
    bed.daemon.ask("steer", "default", before)
