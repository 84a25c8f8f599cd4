#pragma once

#include <stddef.h>
#include <stdint.h>

/// Compresses as gzip (RFC 1952), as small as it can. Returns the bytes written to `output`; 0: they do not fit into `space`, or there was no
/// memory.
size_t gzip_compress(const uint8_t *input, size_t length, uint8_t *output, size_t space);
