"""What a device can do at most, from what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass

#: Multiply-adds of a multiprocessor in each cycle, by compute capability: in registers, on matrix units in tf32 and bf16
#: (NVIDIA's tables of arithmetic throughput; dense).
RATES = {
    75: {"f32": 64, "tf32": 64, "bf16": 64}, 80: {"f32": 64, "tf32": 512, "bf16": 1024},
    86: {"f32": 128, "tf32": 128, "bf16": 256}, 89: {"f32": 128, "tf32": 128, "bf16": 256},
    90: {"f32": 128, "tf32": 1024, "bf16": 2048},
}  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """bandwidth: bytes in a second. clock: cycles in a second."""

    name: str
    capability: int
    multiprocessors: int
    clock: float
    bandwidth: float

    @classmethod
    def of(cls, driver) -> Machine:
        """What a device says; of a simulated one, something."""
        if not hasattr(driver, "attribute"):
            return cls("simulated", driver.capability, 1, 1e9, 1e9)
        say = driver.attribute
        width, rate = say("GLOBAL_MEMORY_BUS_WIDTH") / 8, say("MEMORY_CLOCK_RATE") * 1e3
        clock = say("CLOCK_RATE") * 1e3
        # A device that others share may not say how fast it is.
        bandwidth, clock = 2 * width * rate or float("nan"), clock or float("nan")
        return cls(driver.name, driver.capability, say("MULTIPROCESSOR_COUNT"), clock, bandwidth)

    def operations(self, precision: str) -> float:
        """Multiplications and additions in a second."""
        known = max(c for c in RATES if c <= self.capability)
        rate = RATES[known]["f32"] / 2 if precision == "f64" else RATES[known][precision]
        return 2 * rate * self.multiprocessors * self.clock

    def seconds(self, macs: float, size: float, precision: str) -> float:
        """The least time of so many multiply-adds and bytes."""
        return max(2 * macs / self.operations(precision), size / self.bandwidth)

    def describe(self, precision: str) -> str:
        """A line."""
        rates = ", ".join(f"{p} {self.operations(p) / 1e12:.0f}" for p in dict.fromkeys(("f32", precision)))
        return (
            f"{self.name}, sm_{self.capability}, {self.multiprocessors} multiprocessors at {self.clock / 1e6:.0f} MHz; "
            f"at most {self.bandwidth / 1e9:.0f} GB/s and TFLOP/s: {rates}"
        )
