#include "core/experiment/attack_table.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

TEST(AttackTableTest, EveryMethodOfTheSchemaHasARowInItsOrder) {
  const auto* methods = v1::Attack::descriptor()->FindOneofByName("method");
  ASSERT_THAT(AttackTable(), SizeIs(static_cast<size_t>(methods->field_count())));
  for (int i = 0; i < methods->field_count(); ++i) {
    const AttackFacts& facts = AttackTable()[static_cast<size_t>(i)];
    EXPECT_EQ(facts.Name(), methods->field(i)->name());
    EXPECT_THAT(facts.norms, Not(IsEmpty())) << facts.Name();
    EXPECT_THAT(facts.source, Not(IsEmpty())) << facts.Name();
    EXPECT_NE(facts.draws_at_random, nullptr) << facts.Name();
  }
}

TEST(AttackTableTest, EnsembleRunsItsComponents_OrThoseOfItsVersion) {
  v1::AutoAttack attack;
  attack.set_version(v1::AUTO_ATTACK_VERSION_RAND);
  EXPECT_THAT(ComponentsOf(attack), ElementsAre(v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR));
  attack.set_version(v1::AUTO_ATTACK_VERSION_STANDARD);
  EXPECT_THAT(ComponentsOf(attack), ElementsAre(v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_T,
                                                v1::AUTO_ATTACK_COMPONENT_FAB_T, v1::AUTO_ATTACK_COMPONENT_SQUARE));
  attack.set_version(v1::AUTO_ATTACK_VERSION_PLUS);
  EXPECT_THAT(ComponentsOf(attack), ElementsAre(v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR,
                                                v1::AUTO_ATTACK_COMPONENT_FAB, v1::AUTO_ATTACK_COMPONENT_SQUARE,
                                                v1::AUTO_ATTACK_COMPONENT_APGD_T, v1::AUTO_ATTACK_COMPONENT_FAB_T));
  attack.add_components(v1::AUTO_ATTACK_COMPONENT_SQUARE);
  attack.add_components(v1::AUTO_ATTACK_COMPONENT_FAB);
  EXPECT_THAT(ComponentsOf(attack), ElementsAre(v1::AUTO_ATTACK_COMPONENT_SQUARE, v1::AUTO_ATTACK_COMPONENT_FAB));
}

// The authors' code: nine targets, but five in the l1 of the standard version, which restarts apgd_ce five times there.
TEST(AttackTableTest, MembersHaveTheAuthorsParameters) {
  v1::AutoAttack attack;
  attack.set_version(v1::AUTO_ATTACK_VERSION_STANDARD);
  const auto linf = MembersOf(attack, v1::NORM_LINF, 10);
  ASSERT_THAT(linf, SizeIs(4));
  EXPECT_EQ(linf[0].name, "apgd_ce");
  EXPECT_EQ(linf[0].attack.apgd().restarts(), 1u);
  EXPECT_EQ(linf[1].attack.apgd().targets(), 9u);
  EXPECT_EQ(linf[1].attack.apgd().loss(), v1::ATTACK_LOSS_DLR);
  EXPECT_EQ(linf[2].attack.fab().targets(), 9u);
  EXPECT_EQ(linf[3].attack.square().queries(), 5000u);
  const auto l1 = MembersOf(attack, v1::NORM_L1, 10);
  EXPECT_EQ(l1[0].attack.apgd().restarts(), 5u);
  EXPECT_TRUE(l1[0].attack.apgd().larger_radii_first());
  EXPECT_EQ(l1[1].attack.apgd().targets(), 5u);
  EXPECT_EQ(l1[2].attack.fab().targets(), 9u);
  EXPECT_EQ(MembersOf(attack, v1::NORM_LINF, 4)[1].attack.apgd().targets(), 3u);
  attack.set_version(v1::AUTO_ATTACK_VERSION_RAND);
  EXPECT_EQ(MembersOf(attack, v1::NORM_L1, 10)[0].attack.apgd().restarts(), 1u);
  EXPECT_EQ(MembersOf(attack, v1::NORM_L1, 10)[0].attack.apgd().eot(), 20u);
  attack.set_version(v1::AUTO_ATTACK_VERSION_PLUS);
  EXPECT_EQ(MembersOf(attack, v1::NORM_L2, 10)[2].attack.fab().restarts(), 5u);
  EXPECT_FALSE(MembersOf(attack, v1::NORM_L1, 10)[0].attack.apgd().larger_radii_first());
}

}  // namespace
}  // namespace tightrope
