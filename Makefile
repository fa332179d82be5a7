# flipgate: everything is built out of tree under $(BUILD).
#
#   make            the programs
#   make demo       set-up, build, and the main job on real data (root)
#   make check      set-up, build, and the tests (root)
#   make help       all targets

BUILD ?= build
CC ?= cc
BPF_CLANG ?= clang-14
VERSION := 0.1.0

# SAN=address,undefined builds instrumented programs into a folder of their own.
ifdef SAN
BUILD := build/san
SANFLAGS := -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Werror
CPPFLAGS += -I. -I$(BUILD)/skel -D_GNU_SOURCE -DFG_VERSION='"$(VERSION)"'
CFLAGS += -std=gnu11 -O2 -g -fPIC -fvisibility=hidden $(WARN) $(SANFLAGS) -MMD -MP
LDFLAGS += $(SANFLAGS)
LDLIBS_DAEMON := -lbpf -luring -lseccomp -lcap-ng -lcyaml -lyaml -ljansson
LDLIBS_TOOLS := -lseccomp -lcap-ng -ljansson
# Reading Keras models: flipgate-pack only.
LDLIBS_PACK := $(shell pkg-config --libs hdf5-serial 2>/dev/null) -lzip -lz
HDF5_CPPFLAGS := $(shell pkg-config --cflags hdf5-serial 2>/dev/null)
LDLIBS := -lxxhash -lm -lpthread

# ---- what is built from what -------------------------------------------------------------

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

SCHED := $(wildcard sched/*.c)
KERNELS := $(wildcard models/kernel_*.c)
MODELS := $(filter-out $(KERNELS),$(wildcard models/*.c))
PROTOCOL := $(wildcard userspace/protocol/*.c)
SHARED := $(wildcard userspace/shared/*.c)
DAEMON := $(filter-out userspace/daemon/flipgated.c,$(wildcard userspace/daemon/*.c))
WORKER := $(wildcard userspace/worker/*.c)
CLIENT := $(wildcard tools/client*.c)
CLI := $(wildcard tools/cli_*.c)

# Kernels: one source, one object per ISA (models/kernels.h). The portable C is the reference.
ISAS := c
ISA_c := -ffp-contract=off
ifeq ($(shell uname -m),x86_64)
ISAS += avx2 avx512
ISA_avx2 := -mavx2 -mfma -mf16c -ffp-contract=off
ISA_avx512 := $(ISA_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
endif
ifeq ($(shell uname -m),aarch64)
ISAS += neon
ISA_neon := -ffp-contract=off
endif
KERNEL_OBJ := $(foreach isa,$(ISAS),$(patsubst models/%.c,$(BUILD)/obj/models/%.$(isa).o,$(KERNELS)))

MODELS_OBJ := $(call obj,$(MODELS)) $(KERNEL_OBJ)
COMMON_OBJ := $(call obj,$(SCHED) $(PROTOCOL) $(SHARED)) $(MODELS_OBJ)
DAEMON_OBJ := $(call obj,$(DAEMON) $(WORKER))

SKEL := $(patsubst bpf/%.bpf.c,$(BUILD)/skel/%.skel.h,$(wildcard bpf/*.bpf.c))

PROGRAMS := $(BUILD)/bin/flipgated $(BUILD)/bin/flipgate $(BUILD)/bin/flipgate-pack
# One up whenever a struct of tools/flipgate.h grows: who was built against the old one would pass
# too little.
SONAME := libflipgate.so.1
LIBRARY := $(BUILD)/lib/libflipgate.a $(BUILD)/lib/libflipgate.so $(BUILD)/lib/pkgconfig/flipgate.pc

.PHONY: all
all: $(PROGRAMS) $(LIBRARY)

$(BUILD)/bin/flipgated: $(call obj,userspace/daemon/flipgated.c) $(BUILD)/lib/daemon.a $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS_DAEMON) $(LDLIBS)

$(BUILD)/bin/flipgate: $(call obj,tools/flipgate.c) $(BUILD)/lib/cli.a $(BUILD)/lib/libflipgate.a $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS_TOOLS) $(LDLIBS)

$(BUILD)/bin/flipgate-pack: $(call obj,tools/flipgate-pack.c) $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS_TOOLS) $(LDLIBS_PACK) $(LDLIBS)

$(BUILD)/lib/common.a: $(COMMON_OBJ)
$(BUILD)/lib/daemon.a: $(DAEMON_OBJ)
$(BUILD)/lib/cli.a: $(call obj,$(CLI))
$(BUILD)/lib/libflipgate.a: $(call obj,$(CLIENT) $(PROTOCOL))
$(BUILD)/lib/%.a:
	@mkdir -p $(@D)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/lib/libflipgate.so: $(call obj,$(CLIENT) $(PROTOCOL))
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -o $@ $^ -lxxhash
	ln -sf $(@F) $(@D)/$(SONAME)

$(BUILD)/lib/pkgconfig/flipgate.pc: tools/flipgate.pc.in Makefile
	@mkdir -p $(@D)
	sed -e 's|@VERSION@|$(VERSION)|' -e 's|@BUILD@|$(abspath $(BUILD))|' -e 's|@SOURCE@|$(CURDIR)|' $< >$@

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/obj/models/keras% $(BUILD)/obj/tests/unit/test_keras% \
	$(BUILD)/obj/tests/fuzz/fuzz_config.o: CPPFLAGS += $(HDF5_CPPFLAGS)

define isa_rule
$(BUILD)/obj/models/%.$(1).o: models/%.c
	@mkdir -p $$(@D)
	$$(CC) $$(CPPFLAGS) $$(CFLAGS) -O3 $$(ISA_$(1)) -DFG_ISA=$(1) -DFG_ISA_$(1)=1 -c -o $$@ $$<
endef
$(foreach isa,$(ISAS),$(eval $(call isa_rule,$(isa))))

# ---- BPF ---------------------------------------------------------------------------------

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h)
	@mkdir -p $(@D)
	$(BPF_CLANG) -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror \
		-I. -I/usr/include/$(shell uname -m)-linux-gnu -c -o $@ $<

$(BUILD)/skel/%.skel.h: $(BUILD)/bpf/%.bpf.o
	@mkdir -p $(@D)
	PATH="$$PATH:/usr/sbin:/sbin" bpftool gen skeleton $< name $*_bpf >$@.tmp && mv $@.tmp $@

$(DAEMON_OBJ): | $(SKEL)

# ---- tests -------------------------------------------------------------------------------

UNIT := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
BPFTESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bpf/test_*.c))
BENCHES := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/replay_%,$(wildcard tests/fuzz/fuzz_*.c))

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/lib/daemon.a $(BUILD)/lib/cli.a \
		$(BUILD)/lib/libflipgate.a $(BUILD)/lib/common.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -Wl,--as-needed -o $@ $^ -lcmocka $(LDLIBS_DAEMON) $(LDLIBS_PACK) $(LDLIBS)

$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/*/*.c)): | $(SKEL)

-include Makefile.tests

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.SECONDARY:
.DELETE_ON_ERROR:
