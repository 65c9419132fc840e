# The newcomer's two commands. Everything else is CMake (see CMakePresets.json).
JOBS ?= $(shell nproc)
ARGS ?=
# release compiles CUDA, where its toolkit is, for every GPU since the RTX 30 series; ci for one.
PRESET ?= release

.PHONY: serve test build setup lint format clean

serve: build  ## build, then talk to the bundled model on two CPU ranks; ARGS adds flags
	@build/switchyard serve --model models/tiny-mixtral --ranks 2 $(ARGS)

test: build  ## build, then run every test
	@ctest --preset $(PRESET) -j $(JOBS)

build: setup
	@cmake --preset $(PRESET) $(if $(wildcard build/CMakeCache.txt),> /dev/null,)
	@cmake --build --preset $(PRESET) -j $(JOBS)

setup:
	@tools/setup.sh

lint:  ## formatting, include directions, clang-tidy
	@tools/check_format.sh
	@tools/check_includes.sh
	@tools/check_tidy.sh

format:
	@git ls-files '*.h' '*.cc' '*.cu' '*.cuh' | xargs clang-format -i

clean:
	@rm -rf build build-*
