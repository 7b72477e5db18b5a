#!/usr/bin/env bash
# The case study, from images to a table of all its steps. After any stop run it again: what is finished is kept.
#   bash configs/case_study/run.sh DIR/BUSI [configs/overlays/cpu-small.yaml]
# The members are the files of members/ beside this one, or of the folder here that bears the overlay's name (cpu-small/).
# PAIR=hybrid bash ... takes those of hybrid/ (EfficientNet-B7, and a transformer on it), into lightning_logs/case-study-hybrid/;
# PAIR=hybrid-cpu-small bash ... configs/overlays/cpu-small.yaml is its small variant.
# TTA=xray bash ... takes another preset of docs/howto-tta.md. All files land in lightning_logs/case-study/: a single fold is a
# line of crossval.csv, five folds its out_of_fold/, ten members vote/, and the last table sets them side by side.
#
# Every score is out of fold: a case is judged by the one fold of each architecture that never saw it, so two of the ten
# networks vote on it, with weights that were searched without its fold. Nothing is held out from all ten: a tenth of BUSI
# would be 62 images, and the interval of any score on them wider than what the steps gain. On new cases all ten vote:
# `medimg predict` with each, then `medimg ensemble --part predict`, a fifth of its architecture's weight for each network.
set -euo pipefail
root=$1 overlay=${2:-} here=$(dirname "$0") logs=lightning_logs/case-study${PAIR:+-$PAIR} tta=${TTA:-ultrasound} members=()
pair=$here/$(basename "${PAIR:-${overlay:-members}}" .yaml) && [[ -d $pair || ${PAIR:-} ]] || pair=$here/members
[[ -f $logs/splits.csv ]] || medimg split "$root" --config "$here/base.yaml" --out $logs/splits.csv
for member in "$pair"/*.yaml; do
  name=$(basename "$member" .yaml) members+=("$logs/$name")
  folds=(--config "$here/base.yaml" ${overlay:+"$overlay"} "$member" --logs $logs --data.root "$root" --data.split.file $logs/splits.csv)
  medimg crossval "${folds[@]}" --experiment "$name"
  medimg crossval "${folds[@]}" --experiment "$name-$tta" --weights_of "$name" --tta "$tta" # the same weights look again
done
medimg ensemble "${members[@]}" --weights simplex --out $logs/vote --overwrite
medimg ensemble "${members[@]/%/-$tta}" --weights simplex --out "$logs/vote-$tta" --overwrite
medimg calibrate "$logs/vote-$tta" --method platt --plot $logs/calibration.png --out $logs/calibration.json --overwrite
medimg leaderboard "${members[@]}" "${members[@]/%/-$tta}" $logs/vote "$logs/vote-$tta" --out $logs/leaderboard.csv --overwrite
