// What CometBFT's own light client says of light blocks. In: JSON list of {chain, trusted, target, now, period_s};
// out: JSON list, of each "accepted" or why not.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/light"
	"github.com/cometbft/cometbft/types"
)

type shown struct {
	SignedHeader json.RawMessage `json:"signed_header"`
	Validators   json.RawMessage `json:"validators"`
}

type question struct {
	Chain   string `json:"chain"`
	Trusted shown  `json:"trusted"`
	Target  shown  `json:"target"`
	Now     int64  `json:"now"`
	PeriodS int64  `json:"period_s"`
}

const drift = 10 * time.Second

func read(given shown, chain string) (*types.LightBlock, error) {
	var header types.SignedHeader
	if err := cmtjson.Unmarshal(given.SignedHeader, &header); err != nil {
		return nil, err
	}
	var validators []*types.Validator
	if err := cmtjson.Unmarshal(given.Validators, &validators); err != nil {
		return nil, err
	}
	set, err := types.ValidatorSetFromExistingValidators(validators)
	if err != nil {
		return nil, err
	}
	block := &types.LightBlock{SignedHeader: &header, ValidatorSet: set}
	return block, block.ValidateBasic(chain)
}

func verdict(asked question) (said string) {
	defer func() {
		if panicked := recover(); panicked != nil {
			said = fmt.Sprint("panic: ", panicked)
		}
	}()
	trusted, err := read(asked.Trusted, asked.Chain)
	if err != nil {
		return err.Error()
	}
	target, err := read(asked.Target, asked.Chain)
	if err != nil {
		return err.Error()
	}
	err = light.Verify(
		trusted.SignedHeader, trusted.ValidatorSet, target.SignedHeader, target.ValidatorSet,
		time.Duration(asked.PeriodS)*time.Second, time.Unix(asked.Now, 0), drift, light.DefaultTrustLevel,
	)
	if err != nil {
		return err.Error()
	}
	return "accepted"
}

func main() {
	var asked []question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	said := make([]string, len(asked))
	for number, each := range asked {
		said[number] = verdict(each)
	}
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		panic(err)
	}
}
