import pytest

# Their assertions are the tests': what fails is told as in a test.
pytest.register_assert_rewrite("tests.payments.every_rule", "tests.payments.invariants", "tests.payments.worlds")
