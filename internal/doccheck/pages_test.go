package doccheck

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// root is the tree; tests run in this package's directory.
var root = os.DirFS("../..")

// A page is a Markdown file: its name in the tree, its text, and the text
// without what stands in blocks of code.
type page struct{ name, text, prose string }

// pages returns README.md and all pages under docs and testdata.
func pages(t *testing.T) (list []page) {
	t.Helper()
	names := []string{"README.md"}
	for _, dir := range []string{"docs", "testdata"} {
		err := fs.WalkDir(root, dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && path.Ext(name) == ".md" {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, newPage(name, string(text)))
	}
	if len(list) < 10 {
		t.Fatalf("%d pages were found: this shows nothing", len(list))
	}
	return list
}

func newPage(name, text string) page {
	var prose strings.Builder
	fenced, indented, before := false, false, ""
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced:
		case strings.HasPrefix(line, "    ") && (indented || strings.TrimSpace(before) == ""):
			indented = true // a block of code begins after an empty line
		case strings.TrimSpace(line) == "" && indented:
		default:
			indented = false
			prose.WriteString(line)
		}
		before = line
	}
	return page{name, text, prose.String()}
}

var (
	linkPattern    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	headingPattern = regexp.MustCompile(`(?m)^#+ (.*)$`)
	codePattern    = regexp.MustCompile("`([^`\n]+)`")
	notInAnchor    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchors returns what links may name behind a #, as GitHub makes it of a heading.
func anchors(p page) map[string]bool {
	found := map[string]bool{}
	for _, m := range headingPattern.FindAllStringSubmatch(p.prose, -1) {
		s := notInAnchor.ReplaceAllString(strings.ToLower(m[1]), "")
		found[strings.ReplaceAll(s, " ", "-")] = true
	}
	return found
}

// brokenLinks returns the links of p that lead nowhere in tree. A link to
// another site is not followed.
func brokenLinks(tree fs.FS, p page) (links int, broken []string) {
	for _, m := range linkPattern.FindAllStringSubmatch(p.prose, -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		links++
		file, anchor, _ := strings.Cut(m[1], "#")
		target := p
		if file != "" {
			name := path.Join(path.Dir(p.name), file)
			info, err := fs.Stat(tree, name)
			if err != nil {
				broken = append(broken, m[1])
				continue
			}
			if info.IsDir() || path.Ext(name) != ".md" {
				continue
			}
			text, err := fs.ReadFile(tree, name)
			if err != nil {
				broken = append(broken, m[1])
				continue
			}
			target = newPage(name, string(text))
		}
		if anchor != "" && !anchors(target)[anchor] {
			broken = append(broken, m[1])
		}
	}
	return links, broken
}

func TestLinks(t *testing.T) {
	links := 0
	for _, p := range pages(t) {
		n, broken := brokenLinks(root, p)
		links += n
		for _, link := range broken {
			t.Errorf("%s: the link %s leads nowhere", p.name, link)
		}
	}
	if links < 20 {
		t.Errorf("%d links were looked at: this shows nothing", links)
	}
}

// filePattern is a path of this tree as the pages write one, in code.
var filePattern = regexp.MustCompile(`^(docs|scripts|internal|testdata|cshim|ssl|sessioncb|cmd|bench)/[\w./-]*\w$`)

// missingFiles returns the files that p names and tree does not have. A name
// with a wildcard or a place-holder in it is not looked at.
func missingFiles(tree fs.FS, p page) (files int, missing []string) {
	names := codePattern.FindAllStringSubmatch(p.prose, -1)
	for _, m := range regexp.MustCompile(`\bdocs/[\w/.-]*\.md\b`).FindAllString(p.text, -1) {
		names = append(names, []string{"", m})
	}
	for _, m := range names {
		name := strings.TrimPrefix(strings.Fields(m[1] + " x")[0], "./")
		if !filePattern.MatchString(name) || strings.Contains(name, "...") {
			continue
		}
		files++
		if _, err := fs.Stat(tree, name); err != nil {
			missing = append(missing, name)
		}
	}
	return files, missing
}

func TestNamedFiles(t *testing.T) {
	files := 0
	for _, p := range pages(t) {
		n, missing := missingFiles(root, p)
		files += n
		for _, name := range missing {
			t.Errorf("%s names %s, which does not exist", p.name, name)
		}
	}
	if files < 20 {
		t.Errorf("%d names of files were looked at: this shows nothing", files)
	}
}

// What the checks would find.
func TestBrokenPage(t *testing.T) {
	p := newPage("docs/x.md", strings.Join([]string{
		"# A heading, with `code`",
		"[good](#a-heading-with-code) [bad](#no-heading) [bad](nowhere.md)",
		"[good](guide.md#a-fleet) [bad](guide.md#a-flood) [good](decisions) [not followed](https://example.org/x)",
		"`scripts/setup` `scripts/no-such` docs/none.md",
		"",
		"    [code](is-not-a-link.md)",
		"",
		"```",
		"[code](is-not-a-link.md)",
		"```",
	}, "\n"))
	if links, broken := brokenLinks(root, p); links != 6 || strings.Join(broken, " ") != "#no-heading nowhere.md guide.md#a-flood" {
		t.Errorf("of %d links these are broken: %q", links, broken)
	}
	if files, missing := missingFiles(root, p); files != 3 || strings.Join(missing, " ") != "scripts/no-such docs/none.md" {
		t.Errorf("of %d files these are missing: %q", files, missing)
	}
}
