# SPDX-License-Identifier: GPL-2.0-only
# What a person types. What kbuild reads is in Kbuild.

# The kernel to build for: its headers, as packaged or as built.
KDIR ?= /lib/modules/$(shell uname -r)/build
PREFIX ?= /usr/local
MODULES := lkm1 lkm2 lkm3 lkm4 lkm5
HELPERS := pagemap lazy_allocation
# Said here alone: debian/changelog and NEWS are compared with it, and the rest asks.
VERSION := 0.1
NAME := lkm-suite-$(VERSION)
PAGES := man/lkm.8 man/pagemap.8 man/lazy_allocation.8
# On which kernels it storms for long.
STORMS := 6.1,newest-kasan
# The release that KDIR is of: where its modules are installed.
RELEASE = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' $(KDIR)/include/generated/utsrelease.h 2>/dev/null)

CFLAGS ?= -O2 -g
HELPER_CFLAGS := -std=gnu11 -Wall -Wextra -DLKM_VERSION='"$(VERSION)"'

# What DKMS builds from, and where it looks for it.
DKMS_FILES = Kbuild $(MODULES:%=%.c) $(wildcard *.h)
DKMS_PLACE = $(DESTDIR)/usr/src/$(NAME)

.PHONY: all modules _helpers man sign clean install _install-helpers uninstall _uninstall-helpers
.PHONY: _dkms-source dkms-install dkms-remove deb demo test test-all test-debug test-debug-all coverage storms fuzz bench figures docs dist lint shell help

all: modules _helpers man ## build the modules, the helpers and the man pages (KDIR=/path for another kernel)

# kbuild has its own idea of CC: the compiler that the kernel was built with.
modules:
	@test -e $(KDIR)/Makefile || { \
		echo "No kernel headers at $(KDIR)."; \
		echo "Install them (Debian: apt install linux-headers-$$(uname -r)) or name others: make KDIR=/path"; \
		exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

_helpers: $(HELPERS)

# VERSION is in them.
$(HELPERS): %: %.c Makefile
	$(CC) $(CPPFLAGS) $(CFLAGS) $(HELPER_CFLAGS) $(LDFLAGS) -o $@ $<

man: $(PAGES) ## make the man pages, of the sources (read one: man -l man/lkm.8)

# lkm(8) shows the parameters of all five, and the table of what insmod says.
$(PAGES): %: %.in scripts/man Makefile docs/insmod.md report.h $(MODULES:%=%.c) $(HELPERS:%=%.c)
	@scripts/man $(VERSION) $< >$@ || { rm -f $@; exit 1; }

sign: ## sign the modules, for a kernel that takes no others (KEY=, CERT=; docs/insmod.md)
	@scripts/sign "$(KDIR)" "$(KEY)" "$(CERT)" $(MODULES:%=%.ko)

clean: ## remove what make built
	rm -rf $(HELPERS) $(PAGES) deb *.o .*.o *.ko *.mod *.mod.c .*.cmd modules.order Module.symvers

demo: ## watch all five modules report, in a disposable guest
	@tests/vm/setup && tests/vm/demo

test: ## prove them right, in guests (T=lkm4: one file; K=7.3-arm64, K=newest: one kernel)
	@tests/vm/setup && tests/run $(K:%=--kernel=%) $(T)

test-all: ## the same on every kernel in tests/vm/kernels, for the table in the README
	@tests/vm/setup && tests/run --kernel=all --readme

test-debug: ## the tests on a kernel that looks for wrong use of memory and locks; it is built first
	@tests/vm/setup && tests/run --kernel=newest-kasan $(T)

test-debug-all: ## the same on all such kernels, with storms of a minute, for docs/reliability.md
	@tests/vm/setup && tests/run --long --reliability --kernel=debug,6.1

coverage: ## which lines the tests reach, and why not the others, for docs/reliability.md
	@tests/vm/setup && tests/coverage $(T)

storms: ## all five report while processes come and go, for a minute and more (K=: on another kernel)
	@tests/vm/setup && tests/run --long --kernel=$(or $(K),$(STORMS)) storm

fuzz: ## feed the helpers what a fuzzer makes up (S=600: for so many seconds)
	@tests/vm/setup clang libclang-rt-dev && tests/fuzz/run --seconds=$(or $(S),600)

bench: ## measure the suite beside its peers, in guests, for docs/benchmarks.md (K=, T=: print it of one kernel, one race)
	@tests/vm/setup && tests/bench/run $(if $(K)$(T),$(K:%=--kernel=%),--write) $(T)

figures: ## draw the pictures in docs/ anew, of what is measured in a guest, and what make bench wrote
	@tests/vm/setup gnuplot-nox && tests/figures

docs: ## have the commands in README and docs/lessons/ print their output anew, in guests
	@tests/vm/setup && tests/docs

# The same bytes from the same commit: git takes the time from there, and gzip none.
dist: ## make the tarball of a release, of what is committed
	@git -c tar.umask=0022 archive --prefix=$(NAME)/ -o $(NAME).tar HEAD
	@gzip -9nf $(NAME).tar
	@echo "$(NAME).tar.gz is made, of $$(git rev-parse --short HEAD)."

lint: ## hold the tree to its rules, and have other people's checkers look at it (two minutes, no guest)
	@tests/vm/setup && tests/run lint

.PHONY: compile_commands.json
compile_commands.json: ## tell clangd, in your editor, how modules and helpers are compiled
	@tests/vm/setup --only bear
	$(MAKE) clean
	bear --output $@ -- $(MAKE) all

shell: ## a root shell in a guest, with everything at hand (K=6.1: on that kernel)
	@tests/vm/setup && tests/vm/shell $(K)

# CONFIG_MODULE_SIG_ALL: the key that a distribution signs with is not here.
install: ## install modules for this kernel, helpers and man pages (run make first, then this as root)
	@for file in $(MODULES:%=%.ko) $(HELPERS) $(PAGES); do test -e $$file || { \
		echo "There is no $$file: run make first."; exit 1; }; done
	$(MAKE) -C $(KDIR) M=$(CURDIR) INSTALL_MOD_PATH=$(DESTDIR) INSTALL_MOD_DIR=updates \
		CONFIG_MODULE_SIG_ALL= modules_install
	$(if $(DESTDIR),,depmod $(RELEASE))
	@$(MAKE) --no-print-directory _install-helpers

_install-helpers:
	install -D -t $(DESTDIR)$(PREFIX)/sbin $(HELPERS)
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $(PAGES)

uninstall: ## remove what install put there
	@test -n "$(RELEASE)" || { echo "No kernel headers at $(KDIR): which kernel? make uninstall RELEASE=..."; exit 1; }
	rm -f $(MODULES:%=$(DESTDIR)/lib/modules/$(RELEASE)/updates/%.ko*)
	@$(MAKE) --no-print-directory _uninstall-helpers
	$(if $(DESTDIR),,depmod $(RELEASE))

_uninstall-helpers:
	rm -f $(HELPERS:%=$(DESTDIR)$(PREFIX)/sbin/%)
	rm -f $(PAGES:man/%=$(DESTDIR)$(PREFIX)/share/man/man8/%)

_dkms-source:
	rm -rf $(DKMS_PLACE)
	install -D -m 644 -t $(DKMS_PLACE) $(DKMS_FILES)
	sed 's/#MODULE_VERSION#/$(VERSION)/' dkms.conf >$(DKMS_PLACE)/dkms.conf

dkms-install: _helpers man ## install, and have DKMS build the modules for each kernel to come (as root)
	@command -v dkms >/dev/null || { echo "There is no dkms: install your distribution's."; exit 1; }
	@test -n "$(RELEASE)" || { echo "No kernel headers at $(KDIR): which kernel? make dkms-install KDIR=/path"; exit 1; }
	@dkms remove lkm-suite/$(VERSION) --all >/dev/null 2>&1 || true
	@$(MAKE) --no-print-directory _dkms-source _install-helpers
	dkms install lkm-suite/$(VERSION) -k $(RELEASE)

dkms-remove: ## remove what dkms-install put there, for all kernels
	dkms remove lkm-suite/$(VERSION) --all
	rm -rf $(DKMS_PLACE)
	@$(MAKE) --no-print-directory _uninstall-helpers

# In a copy, since dpkg-buildpackage puts what it makes beside the tree.
deb: ## make a Debian package: modules through DKMS, helpers, man pages
	@tests/vm/setup --only build-essential \
		$$(sed -n 's/^Build-Depends: //p' debian/control | sed 's/([^)]*)//g; s/,//g')
	@rm -rf deb && mkdir -p deb/$(NAME)
	@tar -c --exclude=./.git --exclude=./deb --exclude=./signing . | tar -x -C deb/$(NAME)
	cd deb/$(NAME) && DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage -us -uc -b
	@rm -rf deb/$(NAME)
	@echo "sudo apt install ./$$(echo deb/*.deb)"

help: ## this list
	@sed -n 's/^\([a-z_.-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r verb text; do \
			printf '  make %-15s %s\n' "$$verb" "$$text"; done
