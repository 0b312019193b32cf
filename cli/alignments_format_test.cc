#include "cli/alignments_format.h"

#include <sstream>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

std::string Written(const char* what, const v1::ExportAlignmentsResponse& response) {
  const AlignmentTable* const table = FindAlignmentTable(what);
  if (table == nullptr) return "no such table";
  std::ostringstream out;
  RecordWriter writer(out, RecordFormat::kCsv, table->columns);
  table->write(response, writer);
  writer.Finish();
  return out.str();
}

v1::ExportAlignmentsResponse Response() {
  v1::ExportAlignmentsResponse response;
  response.set_experiment("digits");
  response.mutable_cell()->set_alignment("l2");
  response.set_norm(v1::NORM_L2);
  return response;
}

TEST(AlignmentsFormatTest, AnchorHasItsNearestExamples_AndNothingWhereThereIsNone) {
  v1::ExportAlignmentsResponse response = Response();
  v1::ExportedAnchor& one = *response.add_anchors();
  one.mutable_anchor()->set_index(7);
  one.mutable_anchor()->set_label(3);
  one.mutable_anchor()->set_triples(20);
  one.mutable_anchor()->set_greater(4);
  one.mutable_anchor()->set_equal(1);
  one.mutable_anchor()->set_nearest_same(2);
  one.mutable_anchor()->set_distance_same(16);
  one.set_distance_same(0.015625);
  one.mutable_anchor()->set_nearest_other(9);
  one.mutable_anchor()->set_distance_other(4);
  one.set_distance_other(0.0078125);
  response.add_anchors()->mutable_anchor()->set_index(8);
  EXPECT_EQ(Written("anchors", response),
            "experiment,set,norm,index,label,triples,greater,equal,nearest_same,distance_same,nearest_other,"
            "distance_other\n"
            "digits,l2,l2,7,3,20,4,1,2,0.015625,9,0.0078125\n"
            "digits,l2,l2,8,0,0,0,0,,,,\n");
}

TEST(AlignmentsFormatTest, PairHasCountsSharesAndQuantiles_AndNothingWhereThereAreNoAnchors) {
  v1::ExportAlignmentsResponse response = Response();
  v1::ExportedPair& one = *response.add_pairs();
  one.mutable_pair()->set_from(1);
  one.mutable_pair()->set_to(7);
  one.mutable_pair()->set_triples(8);
  one.mutable_pair()->set_greater(2);
  one.mutable_pair()->set_equal(1);
  one.set_anchors(5);
  one.set_minimum(1);
  one.set_q01(2);
  one.set_q10(3);
  one.set_median(4);
  one.set_q90(5);
  one.set_maximum(6);
  response.add_pairs()->mutable_pair()->set_from(9);
  EXPECT_EQ(Written("pairs", response),
            "experiment,set,norm,from,to,triples,greater,equal,misaligned_share,strictly_misaligned_share,tied_share,"
            "anchors,distance_min,distance_q01,distance_q10,distance_median,distance_q90,distance_max\n"
            "digits,l2,l2,1,7,8,2,1,0.375,0.25,0.125,5,1,2,3,4,5,6\n"
            "digits,l2,l2,9,0,0,0,0,,,,0,,,,,,\n");
}

TEST(AlignmentsFormatTest, TripleHasItsThreeExamplesAndDistances) {
  v1::ExportAlignmentsResponse response = Response();
  v1::ExportedTriple& one = *response.add_triples();
  one.mutable_triple()->set_anchor(3);
  one.mutable_triple()->set_same(4);
  one.mutable_triple()->set_other(5);
  one.mutable_triple()->set_gap(0.25);
  one.set_distance_same(0.5);
  one.set_distance_other(0.25);
  EXPECT_EQ(Written("triples", response),
            "experiment,set,norm,anchor,same,other,distance_same,distance_other,gap\n"
            "digits,l2,l2,3,4,5,0.5,0.25,0.25\n");
}

TEST(AlignmentsFormatTest, OtherTablesAreNotFound) { EXPECT_EQ(FindAlignmentTable("examples"), nullptr); }

}  // namespace
}  // namespace tightrope
