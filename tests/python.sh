#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The Python package, by its own tests (bindings/python/test_iograph.py), each a point here.
# timeout: 240
# shellcheck source=tests/helpers/tap.sh
. tests/helpers/tap.sh
[ -e "$IOG_BUILD/python/iograph/_iograph.abi3.so" ] || { echo "1..0 # SKIP the Python package was not built; make config says why"; exit 0; }
if [ "$IOG_SANITIZER" ]; then echo "1..0 # SKIP the interpreter is not built with the sanitizer"; exit 0; fi
export PYTHONPATH=$IOG_BUILD/python PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
"$PYTHON" - <<'END'
import sys, unittest
sys.path.append("bindings/python")
import test_iograph

class Tap(unittest.TestResult):
    n = 0
    def point(self, good, test, why="", note=""):
        self.n += 1
        for line in why.splitlines():
            print("#", line)
        print(("ok" if good else "not ok"), self.n, "-", ".".join(test.id().split(".")[1:]) + note, flush=True)
    def addSuccess(self, test): self.point(True, test)
    def addFailure(self, test, err): self.point(False, test, self._exc_info_to_string(err, test))
    addError = addFailure
    def addSkip(self, test, reason): self.point(True, test, note=f" # SKIP {reason}")

tests = unittest.defaultTestLoader.loadTestsFromModule(test_iograph)
result = Tap()
tests.run(result)
print(f"1..{result.n}")
END
