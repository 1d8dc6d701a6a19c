#include "../../src/provider/gemini.c"
#include "stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&gemini_form, &provider_gemini, data, n);
}
