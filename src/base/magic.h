/* magic.h - what a file that is not text is, by its first bytes: for the sentence with which it is refused. */
#pragma once

#include "base/buf.h"

/* The media type of an image that models take, "image/png", or NULL. */
const char *magic_image(struct str head);

/* Appends "a PNG image of 640x480 pixels", or "a binary file" when the bytes are not known. */
void magic_say(struct str head, struct buf *out);
