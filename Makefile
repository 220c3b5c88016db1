# Two commands on a fresh machine: `make demo` shows the point, `make test` checks it.

PYTHON ?= python3
RUN := .venv/bin/python
OPTIONS ?=# settings for the demo's runs, e.g. make demo OPTIONS="--max_iters=50 --warmup_iters=5"
AUTOPSY ?=# options of the demo's autopsies
WITH := runs/laptop/pre-L24-s1337
WITHOUT := runs/laptop/none-L24-s1337
MUTANTS ?=# options of tests/mutants, see python -m tests.mutants --help

.PHONY: demo header test test-slow mutants site setup tools clean

demo: header setup
	$(RUN) compare.py config/laptop.py --arms pre,none --jobs 2 $(OPTIONS) --page runs/laptop.html
	@echo "Taking both models apart: what each block is worth, and the paths of the gradient ..."
	@$(RUN) autopsy.py $(WITH) $(AUTOPSY) > runs/laptop/autopsy-with-skips.txt
	@$(RUN) autopsy.py $(WITHOUT) $(AUTOPSY) > runs/laptop/autopsy-without-skips.txt
	@$(RUN) compare.py $(WITH) $(WITHOUT) --page runs/laptop.html > runs/laptop/table.txt
	@printf '\nWith skips it writes:\n\n'; $(RUN) sample.py $(WITH) --prompt "def " --max_new_tokens 300
	@printf '\nWithout skips:\n\n'; $(RUN) sample.py $(WITHOUT) --prompt "def " --max_new_tokens 300
	@echo
	@echo "The page: $(CURDIR)/runs/laptop.html (open it in a browser and take the tour)"
	@echo "What to do next:"
	@echo "    source .venv/bin/activate"
	@echo "    python compare.py config/laptop.py --arms pre,none --depths 2,6,24 --jobs 2   # from which depth on?"
	@echo "    python compare.py config/rescue.py --jobs 2                                   # repaired without a skip"

header:
	@echo "y = x + F(x). Two models of 24 layers, one with skips and one without, are trained side by side on the"
	@echo "source of Python's standard library, then taken apart: one to three minutes of training on two cores and"
	@echo "less than one for the rest, after the first installation."

test: tools
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pytest

test-slow: tools
	$(RUN) -m pytest -m slow

# All of them take hours; make mutants MUTANTS="--sample 30 --jobs 2" tries some. Known results are not run again.
mutants: tools
	$(RUN) -m tests.mutants $(MUTANTS)

# The hosted pages, from what the repository keeps. With npm they take plotly's smaller bundle.
site: tools
	if command -v npm >/dev/null; then npm ci --no-audit --no-fund; fi
	$(RUN) -m reslab.report.site --out site

# What the programs need, and what the tests and the hosted pages need beside it.
setup: .venv/installed
tools: .venv/tools

.venv/tools: requirements-test.txt .venv/installed
	.venv/bin/pip install --requirement requirements-test.txt
	touch $@

# The stamp is written last, so a broken installation is tried again. Without an
# NVIDIA driver on Linux, torch comes from PyTorch's own CPU index, which spares
# gigabytes of CUDA libraries; where that index is out of reach, pip says so and
# takes the same pin from PyPI.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
	  echo "Python 3.11, 3.12, 3.13 or 3.14 is needed, found `$(PYTHON) --version`; run for example: make PYTHON=python3.13"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing; on Debian or Ubuntu run: sudo apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv
	if [ "`uname -s`" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
	  .venv/bin/pip install --retries 0 --extra-index-url https://download.pytorch.org/whl/cpu `grep '^torch==' requirements.txt`; \
	fi
	.venv/bin/pip install --requirement requirements.txt
	touch $@

clean:
	rm -rf .venv
