/* yaml.h - reads one YAML document (libyaml, YAML 1.1) into the same tree that JSON is read into. */
#pragma once

#include "base/js.h"

/* Plain scalars become null, true, false and integers where they are written as such; quoted ones stay strings.
 * Aliases are refused, since ten lines of them can stand for gigabytes. -EBADMSG says what and on which line. */
int yaml_parse(struct str text, json_t **ret, struct err *e);
