#!/usr/bin/env python3
"""Says what compiled kernels do to global memory before they wait for the kernel ahead (kernels/cuda/dependency.cuh).

    tools/check_waits.py build-gpu/kernels/cuda/CMakeFiles/cuda_kernels.dir/*.cu.o

Emulation sees that every thread waits; only the machine code shows what the compiler left, or moved, above the wait.
Loads there are listed, to be compared with what may be read early. Fails if a kernel for sm_90 or later has no wait, or
writes global memory above it. Needs cuobjdump and nvdisasm: the toolkit's, or PyPI's nvidia-cuda-cuobjdump and
nvidia-cuda-nvdisasm.
"""

import collections
import re
import subprocess
import sys

WAIT = "ACQBULK"
FIRST_ARCHITECTURE = 90
READS = {"LD", "LDG", "LDGSTS", "UBLKCP", "UBLKPF", "UTMALDG", "CCTL"}
WRITES = {"ST", "STG", "ATOM", "ATOMG", "RED", "REDG", "UBLKRED", "UTMASTG"}


def kernels_of(path):
    """(name, instructions in order) of every kernel for FIRST_ARCHITECTURE or later."""
    listing = subprocess.run(["cuobjdump", "-sass", path], check=True, capture_output=True, text=True).stdout
    kernels = []
    architecture = 0
    for line in listing.splitlines():
        if match := re.search(r"arch = sm_(\d+)", line):
            architecture = int(match[1])
        elif match := re.search(r"Function : (\S+)", line):
            kernels.append((architecture, match[1], []))
        elif match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z]\w*)", line):
            kernels[-1][2].append(match[1])
    return [(name, code) for architecture, name, code in kernels if architecture >= FIRST_ARCHITECTURE]


def main(paths):
    failed = False
    for path in paths:
        kernels = kernels_of(path)
        reads = collections.Counter()
        for name, code in kernels:
            if WAIT not in code:
                print(f"{path}: {name} has no wait")
                failed = True
                continue
            before = code[: code.index(WAIT)]
            reads.update(word for word in before if word in READS)
            if writes := sorted(set(before) & WRITES):
                print(f"{path}: {name} writes before it waits: {', '.join(writes)}")
                failed = True
        early = ", ".join(f"{count} {word}" for word, count in sorted(reads.items()))
        print(f"{path}: {len(kernels)} kernels, reads above their waits: {early or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1:]))
