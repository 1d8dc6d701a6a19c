/* replay.c - runs a fuzz target without a fuzzer: over every file of a folder, and over variants of each that a fixed seed makes.
 * replay FOLDER VARIANTS; replay cuts FILE; the same target links against libFuzzer in ./dev test --full. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint64_t seed = 88172645463325252ull;

static uint64_t next(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Flips, cuts, doubles and overwrites with what parsers find interesting. */
static size_t vary(uint8_t *p, size_t n)
{
    static const char *const bits[] = { "\"", "\\", "\n", "\r", "\\u0000", "\\ud800", "{", "}", "[", "]", ":", "data:", "\xff", "\xc3", "null" };

    for (uint64_t k = 1 + next() % 4; k; k--) {
        size_t at = n ? next() % n : 0, len = n ? next() % (n - at + 1) : 0;
        const char *bit = bits[next() % (sizeof(bits) / sizeof(bits[0]))];

        switch (next() % 4) {
        case 0:
            if (n)
                p[at] ^= (uint8_t)(1 << next() % 8);
            break;
        case 1:
            memmove(p + at, p + at + len, n - at - len);
            n -= len;
            break;
        case 2:
            if (n + len < INPUT_MAX) {
                memmove(p + at + len, p + at, n - at);
                n += len;
            }
            break;
        default:
            for (size_t i = 0; bit[i] && at + i < n; i++)
                p[at + i] = (uint8_t)bit[i];
            break;
        }
    }
    return n;
}

/* Targets that read streams have it: at how many places one can be cut in two and mean the same. */
__attribute__((weak)) size_t fuzz_cuts(const uint8_t *data, size_t n);

static int cuts(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(data, 1, sizeof(data), f) : 0;

    if (f)
        fclose(f);
    printf("%zu of %zu\n", n && fuzz_cuts ? fuzz_cuts(data, n) : 0, n);
    return n ? 0 : 1;
}

int main(int argc, char **argv)
{
    static uint8_t original[INPUT_MAX], copy[2 * INPUT_MAX];
    int variants = argc > 2 ? atoi(argv[2]) : 0, files = 0;
    DIR *d = argc > 1 ? opendir(argv[1]) : NULL;
    struct dirent *de;

    if (argc == 3 && strcmp(argv[1], "cuts") == 0)
        return cuts(argv[2]);
    while (d && (de = readdir(d))) {
        char path[4096];
        size_t n;
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", argv[1], de->d_name);
        f = de->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f)
            continue;
        n = fread(original, 1, INPUT_MAX / 2, f);
        fclose(f);
        LLVMFuzzerTestOneInput(original, n);
        for (int i = 0; i < variants; i++) {
            memcpy(copy, original, n);
            LLVMFuzzerTestOneInput(copy, vary(copy, n));
        }
        files++;
    }
    if (d)
        closedir(d);
    printf("%d files, %d variants of each\n", files, variants);
    return files ? 0 : 1;
}
