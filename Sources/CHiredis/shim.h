#pragma once
#include <hiredis/hiredis.h>

// The reply object functions differ between hiredis releases: `createArray` takes `int` in 0.14 (Debian 12) and `size_t`
// from 1.0 on (hiredis CHANGELOG, 1.0.0). A function pointer of the wrong type would read half a register, so an unknown
// release stops the build here.
#if HIREDIS_MAJOR == 0 && HIREDIS_MINOR >= 14
typedef int chiredis_element_count;
#elif HIREDIS_MAJOR == 1
typedef size_t chiredis_element_count;
#else
#error "CHiredis: this release of hiredis is unknown; check redisReplyObjectFunctions in hiredis/read.h"
#endif

_Static_assert(
    sizeof(((redisReplyObjectFunctions *)0)->createArray(0, (chiredis_element_count)0)) == sizeof(void *),
    "CHiredis: createArray is not what shim.h takes it for");
