"""Everything that the driver is asked for, through the real bindings: run by `test_bindings.py` with a libcuda in C."""

import numpy as np

from diffgraph.targets.cuda.driver import CudaDriver
from diffgraph.targets.cuda.operations import Launch, Move

driver = CudaDriver()
print(driver.name, driver.capability, driver.linked)
at = driver.allocate(400)
given = np.arange(100, dtype=np.float32)
driver.upload(at, given)
found = np.zeros_like(given)
driver.download(at, found)
assert np.array_equal(found, given) and driver.room() > 0
function = driver.load(b"\x7fELF machine code")
print("most together", driver.most_together(function, 128, 50000))
print(f"expected {at:x} {at + 16:x}")
driver.program([Launch(function, 5, 128, (at, at + 16), (-7,), 1024)])()
driver.program([Launch(function, 6, 128, (at, at + 16), (9,), 60000, True)])()
start = driver.program([Launch(function, 7, 64, (at, at + 16), (3,)), Move(at + 200, at, 40)])
start()
driver.wait()
del start
driver.free(at)
