# Reads `go test -v` and prints, for a package that passed, its ok line with the
# number of tests and the names of those skipped; for one that did not, all it
# said. Exits 1 when anything failed. With -v counts=FILE it appends the numbers
# of tests that passed, failed and were skipped to that file.

function forget() { n = p = f = s = 0; names = "" }
function end_package() { P += p; F += f; S += s; forget(); fflush() }
function print_held(   i) { for (i = 0; i < n; i++) print held[i] }

BEGIN { forget() }

{ held[n++] = $0 }

/^ *--- PASS: / { p++ }
/^ *--- FAIL: / { f++ }
/^ *--- SKIP: / { s++; names = names " " $3 }

# The line that ends a package, one of three.
/^ok  \t/ {
	printf "%s\t%d tests%s\n", $0, p + s, s ? ", skipped:" names : ""
	end_package()
}
/^\?   \t/ { end_package() }
/^FAIL\t/ {
	print_held()
	failed = 1
	end_package()
}

# What is left is go test's last word, or an error outside any package.
END {
	if (n && !(n == 1 && held[0] == "FAIL")) print_held()
	if (n) failed = 1
	if (counts) print P + 0, F + 0, S + 0 >> counts
	exit failed ? 1 : 0
}
