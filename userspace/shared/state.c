#include "userspace/shared/state.h"

const char *fg_mode_name(uint32_t mode)
{
	switch (mode) {
	case FG_MODE_NATIVE:
		return "native";
	case FG_MODE_GENERIC:
		return "generic";
	case FG_MODE_SOCKETS:
		return "sockets";
	default:
		return "none";
	}
}
