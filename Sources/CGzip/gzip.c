// zlib's header stays in here: as a module of Swift it would take over types of the C library.
#include "gzip.h"

#include <zlib.h>

size_t gzip_compress(const uint8_t *input, size_t length, uint8_t *output, size_t space) {
    z_stream stream = {0};
    // 15: the largest window; 16 more: with a gzip header (zlib.h, deflateInit2).
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
    stream.next_in = (Bytef *)input;
    stream.avail_in = (uInt)length;
    stream.next_out = output;
    stream.avail_out = (uInt)space;
    int result = deflate(&stream, Z_FINISH);
    size_t written = space - stream.avail_out;
    deflateEnd(&stream);
    return result == Z_STREAM_END ? written : 0;
}
