"""Images: shown to a model that takes them, else said what they are; the request stays one that services accept."""
import base64
import os
import struct
import zlib

from lib.mock import Mock, calls, text
from lib.rein import Place, check, story


def png(width, height, noise=0):
    def part(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + b"\xff\0\0" * width for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            part(b"IDAT", zlib.compress(rows) + os.urandom(noise)) + part(b"IEND", b""))


def test_images_are_shown():
    image = png(20, 10)
    with Place() as place:
        place.write("a.png", image)
        place.write("b.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(100))
        place.write("large.png", png(20, 10, 700000))
        answers = [calls(("read", {"path": "a.png"}), ("bash", {"command": "echo hi"}), ("read", {"path": "b.jpg"}), ("read", {"path": "large.png"})), text("Seen.")]
        with Mock(answers) as mock:
            out = place.rein("exec", "-q", *mock.options(), "--images", "yes", "--mode", "open", "look")
            check(out.returncode == 0 and not mock.refused, out, mock.refused)
            messages = mock.bodies[-1]["messages"]
        check([m["role"] for m in messages] == ["system", "user", "assistant", "tool", "tool", "tool", "tool", "user", "user"], messages)
        check(messages[3]["content"] == f"a PNG image of 20x10 pixels, {len(image)} bytes", messages[3])
        check("at most" in messages[6]["content"], messages[6])
        parts = messages[7]["content"]
        check(parts[1]["image_url"]["url"] == "data:image/png;base64," + base64.b64encode(image).decode(), parts)
        check(messages[8]["content"][1]["image_url"]["url"].startswith("data:image/jpeg;base64,"), messages[8])
        # once more from the log: the same bytes
        with Mock([text("x"), text("Again.")]) as mock:
            out = place.rein("resume", "--last", "-q", *mock.options()[2:], "more")
            check(out.returncode == 0, out)
            check(mock.bodies[-1]["messages"][:9] == messages, "the same after a resume")


def test_images_for_who_takes_none():
    with Place() as place:
        place.write("a.png", png(20, 10))
        with Mock([calls(("read", {"path": "a.png"})), text("So be it.")]) as mock:
            out = place.rein("exec", "-q", *mock.options(), "--mode", "open", "look")
            check(out.returncode == 0, out)
        result = story(place.events(), "result")[0][1]
        check(result["outcome"] == "error" and "not text but a PNG image of 20x10" in result["text"] and "image" not in result, result)
        check(place.rein("exec", "--images", "maybe", "--model", place.script("say x"), "x").returncode == 2)
