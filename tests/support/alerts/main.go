// Reads Prometheus alert rules with Prometheus's own parser, says which metrics expressions name, and evaluates the
// rules over given series with its own engine. JSON in on standard input, JSON out on standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

type series struct {
	Labels  map[string]string `json:"labels"`
	Samples [][2]float64      `json:"samples"`
}

type question struct {
	Rules       string   `json:"rules"`
	Expressions []string `json:"expressions"`
	Series      []series `json:"series"`
	At          float64  `json:"at"`
}

type answer struct {
	Errors []string            `json:"errors"`
	Names  map[string][]string `json:"names"`
	Firing map[string]int      `json:"firing"`
}

type sample struct {
	t int64
	v float64
}

func (s sample) T() int64                      { return s.t }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

type given []series

func (g given) Querier(mint, maxt int64) (storage.Querier, error) { return querier{g}, nil }

type querier struct{ given given }

func (q querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (q querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (q querier) Close() error { return nil }

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	var found []storage.Series
	for _, each := range q.given {
		if matches(each.Labels, matchers) {
			var samples []chunks.Sample
			for _, row := range each.Samples {
				samples = append(samples, sample{int64(math.Round(row[0] * 1000)), row[1]})
			}
			found = append(found, storage.NewListSeries(labels.FromMap(each.Labels), samples))
		}
	}
	sort.Slice(found, func(i, j int) bool { return labels.Compare(found[i].Labels(), found[j].Labels()) < 0 })
	return &set{found: found, at: -1}
}

func matches(mine map[string]string, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		if !matcher.Matches(mine[matcher.Name]) {
			return false
		}
	}
	return true
}

type set struct {
	found []storage.Series
	at    int
}

func (s *set) Next() bool                        { s.at++; return s.at < len(s.found) }
func (s *set) At() storage.Series                { return s.found[s.at] }
func (s *set) Err() error                        { return nil }
func (s *set) Warnings() annotations.Annotations { return nil }

func names(expression string) ([]string, error) {
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			found[selector.Name] = true
		}
		return nil
	})
	var all []string
	for name := range found {
		all = append(all, name)
	}
	sort.Strings(all)
	return all, nil
}

func main() {
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	said := answer{Errors: []string{}, Names: map[string][]string{}, Firing: map[string]int{}}
	groups, errs := rulefmt.ParseFile(asked.Rules, false)
	for _, err := range errs {
		said.Errors = append(said.Errors, err.Error())
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	at := time.UnixMilli(int64(asked.At * 1000))
	if groups != nil {
		for _, group := range groups.Groups {
			for _, rule := range group.Rules {
				asked.Expressions = append(asked.Expressions, rule.Expr)
				query, err := engine.NewInstantQuery(context.Background(), given(asked.Series), nil, rule.Expr, at)
				if err != nil {
					said.Errors = append(said.Errors, rule.Alert+": "+err.Error())
					continue
				}
				vector, err := query.Exec(context.Background()).Vector()
				if err != nil {
					said.Errors = append(said.Errors, rule.Alert+": "+err.Error())
				}
				said.Firing[rule.Alert] = len(vector)
				query.Close()
			}
		}
	}
	for _, expression := range asked.Expressions {
		found, err := names(expression)
		if err != nil {
			said.Errors = append(said.Errors, expression+": "+err.Error())
		}
		said.Names[expression] = found
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		os.Exit(2)
	}
}
