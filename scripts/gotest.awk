# Reads `go test -v` and prints, for a package that passed, its ok line with the
# number of tests and the names of those skipped; for one that did not, all it
# said. What the tests that failed said comes once more at the very end, where
# the reader of a long log looks. Exits 1 when anything failed. With -v
# counts=FILE it appends the numbers of tests that passed, failed and were skipped
# to that file.

function forget() { n = p = f = s = 0; names = test = ""; split("", said) }
function end_package() { P += p; F += f; S += s; forget(); fflush() }
function print_held(   i) { for (i = 0; i < n; i++) print held[i] }

BEGIN { forget() }

{ held[n++] = $0 }

/^=== (RUN|CONT|NAME) / { test = $3 }
!/^(===| *---) / && test { said[test] = said[test] $0 "\n" }

/^ *--- PASS: / { p++ }
/^ *--- FAIL: / { f++; again = again $0 "\n" said[$3] }
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
	again = again $0 "\n"
	end_package()
}

# What is left is go test's last word, or an error outside any package.
END {
	if (n && !(n == 1 && held[0] == "FAIL")) print_held()
	if (n) failed = 1
	if (again) printf "\n== what failed, once more\n%s", again
	if (counts) print P + 0, F + 0, S + 0 >> counts
	exit failed ? 1 : 0
}
