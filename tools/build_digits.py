"""Makes diffgraph/training/data/digits.npz from a wheel of scikit-learn.

    pip download --no-deps scikit-learn==1.9.1
    python tools/build_digits.py scikit_learn-1.9.1-*.whl

The file is the same, byte for byte, however often it is made. Its licence and source are in digits.txt beside it.
"""

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent.parent / "diffgraph" / "training" / "data" / "digits.npz"


def main(wheel: str) -> None:
    packed = zipfile.ZipFile(wheel).read("sklearn/datasets/data/digits.csv.gz")
    rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.uint8)
    assert rows.shape == (1797, 65) and rows[:, :64].max() == 16
    np.savez_compressed(TARGET, image=rows[:, :64].reshape(-1, 8, 8), label=rows[:, 64])
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1])
