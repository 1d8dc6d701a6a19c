#include "base/magic.h"

#include <stdint.h>

static const struct {
    unsigned at, n;
    const char *bytes, *says;
} kinds[] = {
    { 0, 8, "\x89PNG\r\n\x1a\n", "a PNG image" },
    { 0, 3, "\xff\xd8\xff", "a JPEG image" },
    { 0, 4, "GIF8", "a GIF image" },
    { 8, 4, "WEBP", "a WebP image" },
    { 8, 4, "WAVE", "a WAV recording" },
    { 8, 4, "AVI ", "an AVI video" },
    { 0, 2, "BM", "a BMP image" },
    { 0, 4, "\0\0\1\0", "an icon" },
    { 0, 4, "II*\0", "a TIFF image" },
    { 0, 4, "MM\0*", "a TIFF image" },
    { 0, 5, "%PDF-", "a PDF document; pdftotext may show its text" },
    { 0, 4, "\x7f" "ELF", "an ELF program, library or object file" },
    { 0, 4, "PK\3\4", "a ZIP archive, or a document in one (docx, xlsx, jar); unzip -l lists it" },
    { 0, 4, "PK\5\6", "an empty ZIP archive" },
    { 0, 2, "\x1f\x8b", "gzip data; zcat shows it" },
    { 0, 4, "\x28\xb5\x2f\xfd", "zstd data; zstdcat shows it" },
    { 0, 6, "\xfd" "7zXZ\0", "xz data; xzcat shows it" },
    { 0, 3, "BZh", "bzip2 data; bzcat shows it" },
    { 0, 6, "7z\xbc\xaf\x27\x1c", "a 7-Zip archive" },
    { 257, 5, "ustar", "a tar archive; tar -tf lists it" },
    { 0, 8, "!<arch>\n", "a library archive" },
    { 0, 16, "SQLite format 3\0", "an SQLite database; sqlite3 reads it" },
    { 0, 4, "\xca\xfe\xba\xbe", "a Java class" },
    { 0, 4, "\0asm", "a WebAssembly module" },
    { 0, 2, "MZ", "a Windows program" },
    { 0, 4, "\xcf\xfa\xed\xfe", "a macOS program" },
    { 4, 4, "ftyp", "an MP4 or HEIF file" },
    { 0, 4, "OggS", "an Ogg recording" },
    { 0, 3, "ID3", "an MP3 recording" },
    { 0, 4, "fLaC", "a FLAC recording" },
    { 0, 4, "wOF2", "a web font" },
    { 0, 4, "\0\1\0\0", "a TrueType font" },
    { 0, 4, "OTTO", "an OpenType font" },
    { 0, 8, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document" },
    { 0, 4, "PAR1", "a Parquet table" },
    { 0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file" },
    { 0, 4, "\x80\2}q", "a Python pickle" },
    { 0, 4, "GGUF", "a GGUF model" },
    { 0, 4, "DIRC", "a git index" },
    { 0, 4, "PACK", "a git pack" },
};

/* The size of a JPEG stands in the first start-of-frame segment. ITU T.81, B.2.2. */
static bool jpeg_size(struct str s, uint32_t *w, uint32_t *h)
{
    size_t at = 2;

    while (at + 9 < s.n && s.p[at] == '\xff') {
        unsigned char kind = (unsigned char)s.p[at + 1];
        uint32_t n = (uint32_t)(unsigned char)s.p[at + 2] << 8 | (unsigned char)s.p[at + 3];
        if (kind >= 0xc0 && kind <= 0xcf && kind != 0xc4 && kind != 0xc8 && kind != 0xcc) {
            *h = (uint32_t)(unsigned char)s.p[at + 5] << 8 | (unsigned char)s.p[at + 6];
            *w = (uint32_t)(unsigned char)s.p[at + 7] << 8 | (unsigned char)s.p[at + 8];
            return true;
        }
        at += 2 + (size_t)n;
    }
    return false;
}

static const char *kind_of(struct str head)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (head.n >= kinds[i].at + kinds[i].n && memcmp(head.p + kinds[i].at, kinds[i].bytes, kinds[i].n) == 0)
            return kinds[i].says;
    return "a binary file";
}

const char *magic_image(struct str head)
{
    static const char *const media[][2] = {
        { "a PNG image", "image/png" }, { "a JPEG image", "image/jpeg" }, { "a GIF image", "image/gif" },
        { "a WebP image", "image/webp" },
    };
    const char *says = kind_of(head);

    for (size_t i = 0; i < ARRAY_SIZE(media); i++)
        if (strcmp(says, media[i][0]) == 0)
            return media[i][1];
    return NULL;
}

void magic_say(struct str head, struct buf *out)
{
    uint32_t w = 0, h = 0;
    const char *says = kind_of(head);

    buf_adds(out, says);
    if (strcmp(says, "a PNG image") == 0 && head.n >= 24) {
        w = be32(head.p + 16);
        h = be32(head.p + 20);
    } else if (strcmp(says, "a GIF image") == 0 && head.n >= 10) {
        w = (unsigned char)head.p[6] | (uint32_t)(unsigned char)head.p[7] << 8;
        h = (unsigned char)head.p[8] | (uint32_t)(unsigned char)head.p[9] << 8;
    } else if (strcmp(says, "a JPEG image") == 0) {
        jpeg_size(head, &w, &h);
    }
    if (w && h)
        buf_addf(out, " of %ux%u pixels", w, h);
}
