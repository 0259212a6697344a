"""Values that people, programs and attackers write where something else is meant."""

from tests.fuzz.yaml_text import Pairs, Raw, Tree

PASSWORD = "hunter2"

NUMBERS: list[Tree] = [
    0, 1, -1, 2, 7, 60.5, 0.1, -0.0, 1e-300, 1e300, 1e-6, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64,
    -(2**63) - 1,
    10**30, 10**39, Raw("1" + "0" * 400), Raw("9" * 6000), Raw("1e400"), Raw("-1e400"), Raw("1e-400"),
    Raw(".inf"),
    Raw("-.inf"), Raw(".nan"), Raw("017"), Raw("0o17"), Raw("0x1F"), Raw("0b11"), Raw("1:30"), Raw("1:30.5"),
    Raw("1_000"), Raw("1_0.5_0"), Raw("+5"), Raw("1e5"), Raw("1E-6"), Raw("5."), Raw(".5"), Raw("٣"),
]  # fmt: skip

CONSTANTS: list[Tree] = [
    None, True, False, Raw("yes"), Raw("off"), Raw("~"), Raw(""), Raw("null"), Raw("2024-01-01"),
    Raw("2024-13-45"),
    Raw("2001-12-14t21:59:43.10-05:00"), Raw("!!binary aGVsbG8="), Raw("!!binary ***"), Raw("!!set {a, b}"),
    Raw("!!omap [a: 1]"), Raw("!!pairs [a: 1]"), Raw("!!python/object/apply:os.getcwd []"),
    Raw("!!python/none"),
    Raw("!!python/name:os.getcwd"), Raw("!!timestamp now"), Raw("!!int x"), Raw("!!int '5'"),
    Raw("!!float x"),
    Raw("!!bool maybe"), Raw("!!null x"), Raw("!!str 5"), Raw("!!str [5]"), Raw("!!map [5]"),
    Raw("!!seq {a: 1}"),
    Raw("!mine x"), Raw("!<tag:x> y"), Raw("<<"), Raw("="), Raw("*nowhere"), Raw("&a [*a]"),
    Raw("&a {a: *a}"),
    Raw("&m {<<: *m}"), Raw("{<<: {seeds: [1]}, <<: {epochs: 1}}"), Raw("{<<: 5}"), Raw("{<<: [5]}"),
    Raw("|"),
    Raw(">"), Raw("'"), Raw('"'), Raw("["), Raw("]"), Raw("{"), Raw("}"), Raw(","), Raw("- 1"),
    Raw("a: b: c"), Raw("%"),
    Raw("@x"), Raw("`x`"), Raw("# x"), Raw("&x"), Raw("? x"), Raw("--- x"), Raw("...\n"),
    Raw("\n---\nname: y"),
]  # fmt: skip

TEXTS: list[Tree] = [
    "", " ", "\t", ".", "..", "...", "../x", "a/b", "/", "/dev/zero", "/dev/stdin", "/proc/self/mem", "a\0b",
    "\0",
    "a\nb", "\r", "\x1b[31m", "\x7f", "\x85", "\u2028", "\u202e", "\ud800", "\udfff\ud800", "\ufeff",
    "\uffff", "ß",
    "日本語", "💥", "e\u0301", "x" * 200, "x" * 9_999, "x" * 300_000, "$HOME", "$UNSET_OF_MINE",
    "${UNSET_OF_MINE}", "~",
    "~nobody_of_mine/x", "s3://x", "http://x", "null", "true", "off", "60", "60.5", "1e5", "nan", "inf",
    "10^4", "10^-1",
    "10^400", "10^1e9", "10^", "^10", "1_000", " 10 ", "٣", "dense", "none", "global", "mica", "-mica",
    "mica-", "-",
    "--", "rbpi-", "rbpi-snip", "mica-igq-igq", "MiCA-ERK", "rpi-global", "snip-grasp", "synflow",
    "mica(node_counts=max)",
    "mica(node_counts=mux)-erk", "rbpi-synflow(iterations=0)", "rbpi-synflow(iterations=1e400)", "x(", "x)",
    "x(a", "x(a=",
    "mlp(hidden=[1e400])", "mlp(hidden=[8)", "mlp(hidden=" + "[" * 3000,
    "mlp(hidden=" + "[" * 3000 + "]" * 3000 + ")",
    "mlp(" + "hidden=[1]," * 500 + ")", "mlp(hidden=" + "9" * 5000 + ")", "mlp(title=x)", "mlp(name=x)",
    "mlp()-erk",
    "digits()", "digits(x=1)", "synthetic(train=60)", 'synthetic(train="60")', "synthetic(size=1e3)",
    "cifar10(root=..)",
    "cifar10(root=" + "x" * 5000 + ")", "parquet(train=/dev/zero,test=/dev/zero)", "parquet(train=,test=)",
    "parquet(train=.,test=.)", "sys:exit", "math:pi", "math:sqrt", "json:loads", "os:sep",
    "nosuch_of_mine:net", ":x",
    "x:", "x:y:z", "a.b.:c", "..x:y", "s3://x-erk", "os.path:join-erk", "mica-json:loads", "__main__:x",
    f"s3://key:{PASSWORD}@bucket/x", f"http://me:{PASSWORD}@host:80/x?a=b",
    f"postgresql://me:{PASSWORD}@host/db",
    f"https://host/x?token={PASSWORD}", "s3://$KEY:$SECRET@bucket/x", "s3://key@bucket/x",
    f"cifar10(root=s3://key:{PASSWORD}@bucket)",
]  # fmt: skip

STRUCTURES: list[Tree] = [
    [], [[]], [None], Pairs([]), Pairs([("name", None)]), Pairs([("name", "mlp"), ("name", "mlp")]),
    Pairs([("name", "digits"), ("title", "a\x1bb")]), Pairs([("name", "digits"), ("title", "x" * 5000)]),
    Pairs([("name", "digits"), ("title", "")]), Pairs([("name", "digits"), ("title", ["x"])]),
    Pairs([("name", "synthetic"), ("train", "60")]), Pairs([("name", "synthetic"), ("size", Pairs([]))]),
    Pairs([("name", "synthetic"), ("train", 10**8), ("size", 10_000)]), Pairs([("name", "mlp"), ("hidden",
    [0])]),
    Pairs([("name", "synthetic"), ("options", Pairs([("train", "60")])), ("defaults", Pairs([])), ("title",
    None),
           ("code", None)]),
    Pairs([("pruner", Pairs([("name", "x")])), ("distribution", Pairs([("name", "y")]))]),
    Pairs([("name", "parquet"), ("train", "/dev/zero"), ("test", "a\0b")]),
    Pairs([("name", "parquet"), ("train", f"s3://key:{PASSWORD}@bucket/x"), ("test", "x")]),
    Pairs([("log10", Pairs([("from", 0), ("to", 10**40), ("step", 1)]))]),
    Pairs([("log10", Pairs([("from", 0), ("to", 30), ("step", 1e-12)]))]),
    Pairs([("log10", Pairs([("from", 0), ("to", 30), ("step", 5e-324)]))]),
    Pairs([("log10", Pairs([("from", 0), ("to", 6)]))]), Pairs([("log10", Pairs([]))]), Pairs([("log10",
    "10^4")]),
    Pairs([(1, 2)]), Pairs([(None, 2)]), Pairs([(True, 2)]), Pairs([([1, 2], 2)]), Pairs([(Pairs([("a", 1)]),
    2)]),
    Pairs([("", 1)]), Pairs([("a\0b", 1)]), Pairs([("x[y]", 1)]), Pairs([("literal", 1)]), Pairs([("str",
    1)]),
    Pairs([("x" * 3000, 1)]), Pairs([("a.b", 1)]), Pairs([("\ud800", 1)]),
]  # fmt: skip

ODD = [*NUMBERS, *CONSTANTS, *TEXTS, *STRUCTURES]
